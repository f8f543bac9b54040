"""The wire without LiteLLM."""
