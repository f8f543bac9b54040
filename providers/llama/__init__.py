"""llama.cpp on this machine."""
