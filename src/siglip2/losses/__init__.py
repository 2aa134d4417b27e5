"""One file per part of the paper."""
