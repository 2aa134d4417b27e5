"""What is counted: one measure a file, on arrays."""
