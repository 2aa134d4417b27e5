"""Runs the two towers."""
