"""The wire through LiteLLM."""
