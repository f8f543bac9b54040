"""Who is asked: a model, resolved, checked and tried out."""
