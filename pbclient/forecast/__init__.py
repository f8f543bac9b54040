"""What a run will cost and how much its figures will tell."""
