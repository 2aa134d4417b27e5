"""What to train: functions that return a frozen recipe."""
