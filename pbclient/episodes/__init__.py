"""One episode: a question, its answers, and what the environment makes of them."""
