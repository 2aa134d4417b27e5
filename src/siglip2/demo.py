"""Classify a few photographs that come with scikit-image, and draw the result.

The photographs lie inside of scikit-image's package, so that nothing is downloaded.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from siglip2.classify import Prediction
from siglip2.errors import Siglip2Error

PHOTOS = ("coffee.png", "motorcycle_left.png", "camera.png", "astronaut.png")
# Close to what nano was trained on: it knows 200 classes and everyday scenes, and docs/nano.md says how often
# it is right. It does not know the cat that is among scikit-image's photographs too.
LABELS = (
    "espresso",
    "pizza",
    "mushroom",
    "a motorcycle",
    "school bus",
    "a man taking a picture",
    "a woman in an orange suit",
    "a dog",
    "beach",
    "coins",
)

_BACKGROUND = (250, 249, 246)
_INK = (32, 33, 36)
_FAINT = (120, 120, 124)
_TRACK = (229, 227, 221)
_BAR = (176, 186, 196)
_BEST = (31, 119, 140)


@dataclass(frozen=True)
class _Layout:
    """Lengths in pixels, at twice the size they are looked at."""

    margin: int = 72
    photo: int = 480
    gap: int = 48
    header: int = 132
    row: int = 68
    bar: int = 10
    rows: int = 5
    footer: int = 56

    def size(self, columns: int) -> tuple[int, int]:
        width = 2 * self.margin + columns * self.photo + (columns - 1) * self.gap
        height = 2 * self.margin + self.header + self.photo + 28 + self.rows * self.row + self.footer
        return width, height


def sample_photos() -> list[Path]:
    """The photographs.

    Raises:
        Siglip2Error: scikit-image is not installed, or comes without one of them.
    """
    # Found without importing it, which would cost a second.
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise Siglip2Error("the demo shows scikit-image's sample photographs: pip install scikit-image")
    photos = [Path(package.origin).parent / "data" / name for name in PHOTOS]
    missing = [photo.name for photo in photos if not photo.is_file()]
    if missing:
        raise Siglip2Error(f"this scikit-image comes without {', '.join(missing)}: install another release")
    return photos


def draw_demo(
    photos: Sequence[Image.Image], results: Sequence[Sequence[Prediction]], title: str
) -> Image.Image:
    """Photos side by side, each over bars of its best labels.

    Args:
        photos: at least one.
        results: the ranking of each photo.
        title: shown above.
    """
    layout = _Layout()
    picture = Image.new("RGB", layout.size(len(photos)), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((layout.margin, layout.margin), title, fill=_INK, font=ImageFont.load_default(52))
    for column, (photo, ranking) in enumerate(zip(photos, results, strict=True)):
        left = layout.margin + column * (layout.photo + layout.gap)
        top = layout.margin + layout.header
        square = ImageOps.fit(photo.convert("RGB"), (layout.photo, layout.photo), Image.Resampling.LANCZOS)
        picture.paste(square, (left, top))
        top += layout.photo + 28
        for rank, prediction in enumerate(ranking[: layout.rows]):
            _draw_row(draw, prediction, left, top + rank * layout.row, layout, best=rank == 0)
    note = "Score: share among the labels given (softmax). In brackets: probability by itself (sigmoid)."
    bottom = picture.height - layout.margin
    draw.text((layout.margin, bottom), note, fill=_FAINT, font=ImageFont.load_default(24), anchor="ls")
    return picture


def _draw_row(
    draw: ImageDraw.ImageDraw, prediction: Prediction, left: int, top: int, layout: _Layout, *, best: bool
) -> None:
    right, baseline = left + layout.photo, top + 34
    numbers = f"{100 * prediction.score:.0f} %  ({100 * prediction.probability:.1f} %)"
    ink = _INK if best else _FAINT
    draw.text((left, baseline), prediction.label, fill=ink, font=ImageFont.load_default(28), anchor="ls")
    draw.text((right, baseline), numbers, fill=ink, font=ImageFont.load_default(24), anchor="rs")
    bar_top = baseline + 12
    draw.rounded_rectangle((left, bar_top, right, bar_top + layout.bar), layout.bar // 2, fill=_TRACK)
    length = max(layout.bar, round(layout.photo * prediction.score))
    draw.rounded_rectangle(
        (left, bar_top, left + length, bar_top + layout.bar), layout.bar // 2, fill=_BEST if best else _BAR
    )
