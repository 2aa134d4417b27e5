"""The two towers as torch modules."""
