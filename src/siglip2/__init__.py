"""SigLIP 2: images and text in one space."""

__version__ = "0.1.0"
