"""Endings of image file names."""

_ENDINGS = "jpg jpeg jpe jfif png webp gif bmp dib tif tiff avif heic heif"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split(" "))
"""What is taken from a folder; a file that is named itself may be called anything."""
