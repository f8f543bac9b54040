"""What a server said, over any wire: answers, errors, waits."""
