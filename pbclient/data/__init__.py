"""The data folder: what is there and what is played."""
