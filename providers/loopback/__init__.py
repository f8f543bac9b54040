"""A model server on this machine, for the demo and the documentation."""
