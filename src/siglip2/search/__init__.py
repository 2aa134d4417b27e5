"""A collection of photos or texts that can be searched by words, by example, or both."""
