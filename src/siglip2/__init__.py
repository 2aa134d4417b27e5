"""SigLIP 2: images and text in one space.

`load` opens a model as an `Encoder`; a `ZeroShotClassifier` names what is in images with labels of your own:
`ZeroShotClassifier(load("nano"), ["a cat", "a dog"]).classify(["photo.jpg"])`. A `Collection` keeps the
vectors of many images for searching.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siglip2.classify import ZeroShotClassifier
    from siglip2.encoder import Encoder, load
    from siglip2.search.collection import Collection

__version__ = "0.1.0"
__all__ = ["Collection", "Encoder", "ZeroShotClassifier", "load"]

# Loaded on first use: the package itself imports nothing heavy.
_HOMES = {
    "Collection": "siglip2.search.collection",
    "Encoder": "siglip2.encoder",
    "ZeroShotClassifier": "siglip2.classify",
    "load": "siglip2.encoder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'siglip2' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
