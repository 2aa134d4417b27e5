"""Errors for people: each says which input was wrong and what would be right."""


class Siglip2Error(Exception):
    """Base of every error that a user's input can cause. Commands print it and exit with code 2."""


class InvalidImage(Siglip2Error):
    """A file or array that is not a usable image."""


class UnavailableImage(InvalidImage):
    """An image that may be usable another time, unchanged: a plug-in is missing, or its decoder was ended."""


class InvalidInput(Siglip2Error):
    """An argument outside of what the call accepts."""


class InvalidCheckpoint(Siglip2Error):
    """Weights whose tensors are missing, left over or of the wrong shape."""


class ModelNotFound(Siglip2Error):
    """A model name that leads to no weights here."""
