"""HEIC photos, through a plug-in for Pillow that not every installation has."""

import importlib

from siglip2.errors import UnavailableImage

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_SHARED_BRANDS = (b"mif1", b"msf1")  # containers of either HEVC or AV1 pictures
_PLUGINS = ("pi_heif", "pillow_heif")


def is_heic(data: bytes) -> bool:
    """Whether the file's first box says HEIC. AVIF, which has the same container, is Pillow's own."""
    if data[4:8] != b"ftyp":
        return False
    brand = data[8:12]
    return brand in _HEIC_BRANDS or (brand in _SHARED_BRANDS and b"avif" not in data[12:64])


def register_heic(name: str) -> None:
    """Make Pillow read HEIC.

    Raises:
        UnavailableImage: no plug-in is installed; says which extra brings it.
    """
    for plugin in _PLUGINS:
        try:
            module = importlib.import_module(plugin)
        except ImportError:
            continue
        module.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
        return
    raise UnavailableImage(
        f"{name} is a HEIC photo; to read it, install the extra: pip install 'siglip2[heic]'"
    )
