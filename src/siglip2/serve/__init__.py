"""The HTTP service: one engine, several dialects, accounts."""
