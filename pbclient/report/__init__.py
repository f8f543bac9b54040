"""How results look, on a terminal and on a page."""
