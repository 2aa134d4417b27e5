"""Images with a value for every pixel: class masks and depth, as their publishers lay them out."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from siglip2.errors import InvalidImage, InvalidInput
from siglip2.evals.formats.shards import read_samples
from siglip2.evals.images import ImageFile

IGNORE = 255


@dataclass(frozen=True, kw_only=True)
class DenseImages:
    """Images with one picture of values each.

    Attributes:
        images: B pictures.
        values: B pictures of the values, of the same shape as the image or another.
        class_names: C names where the values are classes.
        lookup: (256,) class of each value of a mask, `IGNORE` where it is none; None takes them as they are.
        unit: metres of one unit of depth.
        disparity: inverse depth of one level, where depth pictures hold inverses.
        focals: (B,) focal lengths in widths of the image, where images differ.
    """

    images: list[ImageFile]
    values: list[ImageFile]
    class_names: tuple[str, ...] = ()
    lookup: np.ndarray | None = None
    unit: float = 1.0
    disparity: float | None = None
    focals: np.ndarray | None = None

    def take(self, positions: np.ndarray) -> "DenseImages":
        """Some of the images."""
        chosen = positions.tolist()
        return DenseImages(
            images=[self.images[index] for index in chosen],
            values=[self.values[index] for index in chosen],
            class_names=self.class_names,
            lookup=self.lookup,
            unit=self.unit,
            disparity=self.disparity,
            focals=None if self.focals is None else self.focals[positions],
        )

    def masks(self) -> Iterator[np.ndarray]:
        """(H, W) uint8 class of each pixel, `IGNORE` where none."""
        for value in self.values:
            mask = _pixels(value)
            if mask.ndim != 2:
                raise InvalidInput(f"{value.key} is no mask of one number a pixel: its shape is {mask.shape}")
            if not 0 <= mask.min() <= mask.max() <= 255:
                raise InvalidInput(
                    f"{value.key} is no mask: its numbers go from {mask.min()} to {mask.max()}"
                )
            yield mask.astype(np.uint8) if self.lookup is None else self.lookup[mask.astype(np.uint8)]

    def depths(self) -> Iterator[np.ndarray]:
        """(H, W) float32 metres, 0 where nothing was measured."""
        for value in self.values:
            levels = _pixels(value).astype(np.float32)
            if levels.ndim != 2:
                raise InvalidInput(f"{value.key} is no picture of depths: its shape is {levels.shape}")
            if self.disparity is not None:
                known = levels > 0
                levels = np.where(known, 1 / np.where(known, levels * self.disparity, 1), 0)
            yield levels * self.unit


def _pixels(value: ImageFile) -> np.ndarray:
    """Numbers of a picture of values as they stand."""
    try:
        return np.asarray(Image.open(io.BytesIO(value.read())))
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidImage(f"{value.key} is damaged or no picture: {error}") from error


def lookup_of(values: list[int]) -> np.ndarray:
    """A table from the values of a mask to classes 0, 1, ... in the order given."""
    table = np.full(256, IGNORE, np.uint8)
    table[values] = np.arange(len(values))
    return table


def read_dense_tars(folder: Path, split: str, extension: str, **described) -> DenseImages:
    """WebDataset tars whose samples hold a second picture under an extension such as `seg.png`."""
    samples = [each for each in read_samples(folder, f"{split}*.tar*") if extension in each.files]
    if not samples:
        raise InvalidInput(f"{folder}: no sample of {split} has a .{extension}")
    return DenseImages(
        images=[each.image for each in samples],
        values=[ImageFile(f"{each.image.key}.{extension}", each.files[extension]) for each in samples],
        **described,
    )


def read_dense_folders(
    images: Path, values: Path, names: list[str] | None = None, **described
) -> DenseImages:
    """A folder of pictures and one of PNGs of the same stems (ADE20k, PASCAL VOC, NYUv2).

    Args:
        images: folder of pictures.
        values: folder of PNGs.
        names: stems to take; None for all that have a PNG.
        described: class names, lookup and unit.
    """
    pictures = {
        path.stem: path for path in sorted(images.glob("*")) if path.suffix.lower() in (".jpg", ".png")
    }
    stems = names if names is not None else [stem for stem in pictures if (values / f"{stem}.png").exists()]
    missing = [stem for stem in stems if stem not in pictures or not (values / f"{stem}.png").exists()]
    if missing or not stems:
        raise InvalidInput(
            f"{images} and {values}: {len(missing)} of {len(stems)} names have no picture or no PNG, "
            f"such as {', '.join(missing[:3])}"
            if missing
            else f"{images} and {values} have no name in common"
        )
    return DenseImages(
        images=[ImageFile(stem, pictures[stem]) for stem in stems],
        values=[ImageFile(f"{stem}.png", values / f"{stem}.png") for stem in stems],
        **described,
    )
