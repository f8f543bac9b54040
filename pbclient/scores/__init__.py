"""Figures from recorded episodes alone."""
