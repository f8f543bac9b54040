"""A whole run: planned, played, recorded, continued."""
