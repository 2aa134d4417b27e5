"""Flickr8k and COCO photographs as pictures, captions to write, and questions to answer.

The folder is the one of the research data: `flickr8k/`, `flickr8k_native_aspect/` and `coco_mini/` with
gzipped WebDataset shards (`key.jpg`, `key.json`). Questions are made by rule from the five captions that
people wrote; no person asked them.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from siglip2.config import VisionConfig
from siglip2.errors import InvalidInput
from siglip2.inputs.naflex import naflex_size
from siglip2.inputs.patches import patchify

DESCRIBE = "picture:"
THINGS = ("dog", "man", "woman", "boy", "girl", "child", "ball", "water", "snow", "grass", "bike", "hat")
"""What questions ask for; each is in the captions of at least 200 of Flickr8k's training photographs."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One photograph.

    Attributes:
        photo: the encoded file.
        captions: in English, by people, lower-case.
    """

    photo: bytes
    captions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What is said about one picture: the model reads `prompt` and learns to write `answer`."""

    picture: int
    prompt: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One photograph as the image tower takes it.

    Attributes:
        patches: (S, N, P) uint8, row-major: of the whole photograph and, where it is tiled, of its tiles.
        grid: patches high and wide of each; both even, so that neighbours can be joined two by two.
    """

    patches: np.ndarray
    grid: tuple[int, int]


def read_samples(
    folder: Path, split: Literal["train", "test"], *, native: bool, limit: int | None = None
) -> list[Sample]:
    """Flickr8k's and COCO's photographs of one split (COCO's val is the test split).

    Args:
        folder: of the data sets.
        split: what to read.
        native: take Flickr8k's photographs at their own aspect ratio where they are there (1,000 of 8,091;
            the others are squares).
        limit: stop after so many.

    Raises:
        InvalidInput: the folder has no Flickr8k.
    """
    shards = sorted((folder / "flickr8k").glob(f"{split}-*.tar.gz"))
    if not shards:
        raise InvalidInput(f"{folder} has no flickr8k/{split}-*.tar.gz; name the folder of the data sets")
    own_shape: dict[str, bytes] = {}
    if native:
        for shard in sorted((folder / "flickr8k_native_aspect").glob("*.tar.gz")):
            own_shape |= {key: photo for key, photo, _ in read_shard(shard)}
    shards += sorted((folder / "coco_mini").glob(f"{'val' if split == 'test' else split}-*.tar.gz"))
    samples = []
    for shard in shards:
        for key, photo, notes in read_shard(shard):
            captions = notes.get("captions", {}).get("en", ())
            if captions:
                lower = tuple(tidy(caption) for caption in captions)
                samples.append(Sample(photo=own_shape.get(key, photo), captions=lower))
            if limit is not None and len(samples) >= limit:
                return samples
    return samples


def read_shard(path: Path) -> Iterator[tuple[str, bytes, dict]]:
    """Key, photograph and annotations of every sample of a shard."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            key, _, extension = member.name.partition(".")
            file = archive.extractfile(member)
            if file is not None and extension in ("jpg", "json"):
                found.setdefault(key, {})[extension] = file.read()
            if len(found.get(key, ())) == 2:
                sample = found.pop(key)
                yield key, sample["jpg"], json.loads(sample["json"])


def tidy(caption: str) -> str:
    """Lower-case, without the space before punctuation that Flickr8k has, and without a last full stop."""
    return re.sub(r"\s+([.,!?])", r"\1", caption.lower().strip()).rstrip(" .")


def captions(samples: Sequence[Sample], a_picture: int = 5) -> list[Turn]:
    """Turns that ask for a description."""
    return [
        Turn(picture=index, prompt=DESCRIBE, answer=caption)
        for index, sample in enumerate(samples)
        for caption in sample.captions[:a_picture]
    ]


def questions(samples: Sequence[Sample], seed: int = 0) -> list[Turn]:
    """As many "yes" as "no" for each thing, so that nothing is won without looking.

    Yes: three captions or more name the thing. No: none does. What one or two name is not asked.
    """
    random = np.random.default_rng(seed)
    turns = []
    for thing in THINGS:
        word = re.compile(rf"\b{thing}s?\b")
        named = np.array([sum(bool(word.search(text)) for text in sample.captions) for sample in samples])
        groups = {"yes": np.flatnonzero(named >= 3), "no": np.flatnonzero(named == 0)}
        count = min(map(len, groups.values()))
        prompt = f"is there a {thing}?" if thing not in ("water", "snow", "grass") else f"is there {thing}?"
        for answer, pictures in groups.items():
            chosen = random.choice(pictures, count, replace=False)
            turns += [Turn(picture=int(index), prompt=prompt, answer=answer) for index in chosen]
    return turns


def views(photo: bytes, cuts: int, random: np.random.Generator) -> list[Image.Image]:
    """A photo, decoded once, and so many parts of it."""
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    return [image, *(cut(image, random) for _ in range(cuts))]


def cut(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Half of a photo or more, in its own shape, mirrored half of the time."""
    share = np.sqrt(random.uniform(0.5, 1))
    width, height = (max(1, round(share * side)) for side in image.size)
    left, top = (int(random.integers(0, more + 1)) for more in (image.width - width, image.height - height))
    part = image.crop((left, top, left + width, top + height))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


def to_picture(
    photo: bytes | Image.Image, vision: VisionConfig, max_num_patches: int, tiles: int = 1
) -> Picture:
    """Resize to the tower's square, or for NaFlex to an even grid within the budget in the photo's shape.

    With `tiles` T above 1 a square is seen once more in T times T parts, each as large as the whole was
    (LLaVA-NeXT and SmolVLM do so): the tower sees T times finer, at the size that it was trained for.
    """
    image = photo if isinstance(photo, Image.Image) else Image.open(io.BytesIO(photo))
    image, patch = image.convert("RGB"), vision.patch_size
    if vision.image_size is None:
        # Blocks of two by two patches, a quarter of the budget: every grid comes out even.
        height, width = naflex_size(image.height, image.width, 2 * patch, max(max_num_patches // 4, 1))
    else:
        height = width = vision.image_size
    squares = [_resized(image, height, width)]
    if tiles > 1 and vision.image_size is not None:
        fine = _resized(image, tiles * height, tiles * width)
        squares += [
            fine[top : top + height, left : left + width]
            for top in range(0, tiles * height, height)
            for left in range(0, tiles * width, width)
        ]
    patches = np.stack([patchify(square, patch) for square in squares])
    return Picture(patches=patches, grid=(height // patch, width // patch))


def _resized(image: Image.Image, height: int, width: int) -> np.ndarray:
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
