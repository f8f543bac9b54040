"""transformers on this machine."""
