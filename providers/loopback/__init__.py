"""A model server on this machine's loopback, for the demo and for tests."""
