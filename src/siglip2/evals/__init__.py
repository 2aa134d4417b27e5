"""One file per task, one report."""
