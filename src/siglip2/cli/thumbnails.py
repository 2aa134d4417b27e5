"""Small pictures in terminals that can show them: kitty's protocol, or sixels, which iTerm2 knows as well."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from siglip2.errors import Siglip2Error

if TYPE_CHECKING:
    from siglip2.search.rows import Row

LINES = 6
PIXELS = 240


def terminal_printer() -> "Callable[[Row], None] | None":
    """Prints a row's picture; None where the terminal shows none, or textual-image is missing.

    Only a terminal that answers is taken for one that can: nothing is printed on a guess.
    """
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        return None
    try:
        # The package asks the terminal when it is imported.
        from textual_image.renderable import Image, SixelImage, TGPImage
    except ModuleNotFoundError:
        return None
    if Image not in (SixelImage, TGPImage):
        return None
    return lambda row: print_picture(Image, row)


def print_picture(renderable: Any, row: "Row") -> None:
    """Print a row's picture through a class of textual-image; nothing for texts and photos that are gone."""
    from rich.console import Console

    from siglip2.search.pictures import thumbnail

    try:
        picture = thumbnail(row, PIXELS)
    except Siglip2Error:
        return
    Console(force_terminal=True).print(renderable(picture, height=LINES))
