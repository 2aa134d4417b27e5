"""The tasks, one small file each."""
