"""What a call may cost, and did."""
