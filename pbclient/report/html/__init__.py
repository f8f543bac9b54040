"""The report: one HTML file of recorded runs, and an explorer of their episodes in it."""
