"""Small models fitted on frozen features."""
