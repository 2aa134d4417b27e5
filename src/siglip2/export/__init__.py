"""Models in the formats of other runtimes, each checked against the source as it is written."""
