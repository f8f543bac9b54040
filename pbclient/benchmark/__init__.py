"""What is taken from the installed benchmark package, unmodified."""
