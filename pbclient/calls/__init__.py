"""The wrappers around one call, from the cache to the wire."""
