"""From a path in a row to the bytes that are sent."""
