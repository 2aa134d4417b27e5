"""The research data that `nano` is trained on: class photographs, captioned photographs, emoji.

Kept out of training: every val and test split, and the images of the multilingual evaluation lists.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from siglip2.data.captioned import CaptionedImages, stack_images
from siglip2.data.shards import ShardSample, read_shard

TINY_SIDE = 64
"""Pixels of a picture of Tiny ImageNet, which its boxes are given in."""

CLASS_TEMPLATES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a photo of the {}",
    "a photo of one {}",
    "a good photo of a {}",
    "a bad photo of a {}",
    "a close-up photo of a {}",
    "a small photo of a {}",
    "a cropped photo of a {}",
    "a picture of a {}",
    "an image of a {}",
    "there is a {} in the photo",
    "this is a {}",
)


def read_shards(folder: Path, pattern: str) -> Iterator[ShardSample]:
    """Samples of all shards of a folder that match a pattern, in name order.

    Raises:
        FileNotFoundError: no shard matches.
    """
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"no shards {pattern} in {folder}")
    for path in paths:
        yield from read_shard(path)


def tiny_imagenet(data: Path, size: int, split: str = "train") -> CaptionedImages:
    """45,800 photographs of 200 classes; the captions are the class name in templates."""
    classes = json.loads((data / "tiny_imagenet" / "classes.json").read_text())
    names = [entry["clip_name"] for entry in classes]
    captions = [[template.format(name) for template in CLASS_TEMPLATES] for name in names]
    samples = list(read_shards(data / "tiny_imagenet", f"{split}-*.tar.gz"))
    entries = [json.loads(sample.files["json"]) for sample in samples]
    labels = np.array([entry["label"] for entry in entries])
    boxes = [tuple(value / TINY_SIDE for value in entry["box"]) for entry in entries]
    images, _ = stack_images((sample.files["jpg"] for sample in samples), size)
    return CaptionedImages(
        name="tiny_imagenet",
        images=images,
        captions=[captions[label] for label in labels],
        classes=labels,
        regions=[[(box, names[label])] for box, label in zip(boxes, labels, strict=True)],
    )


def coco_mini(data: Path, size: int, split: str = "train") -> CaptionedImages:
    """208 photographs with boxes, 80 of them with captions; the others are captioned by what is in them."""
    samples = list(read_shards(data / "coco_mini", f"{split}-*.tar.gz"))
    captions, regions = [], []
    for sample in samples:
        entry = json.loads(sample.files["json"])
        width, height = entry["wh"]
        found = []
        for each in entry.get("objects", []):
            x, y, w, h = each["box_xywh"]
            found.append(((x / width, y / height, (x + w) / width, (y + h) / height), each["name"]))
        listed = ", ".join(dict.fromkeys(name for _, name in found)) or "a photo"
        captions.append(entry["captions"]["en"] or [f"a photo of {listed}"])
        regions.append(found)
    images, aspects = stack_images((sample.files["jpg"] for sample in samples), size)
    return CaptionedImages(
        name="coco_mini",
        images=images,
        captions=captions,
        classes=np.full(len(samples), -1),
        regions=regions,
        aspects=aspects,
    )


def evaluation_images(data: Path) -> set[str]:
    """File names of the Flickr8k photographs that the multilingual evaluation lists hold."""
    with gzip.open(data / "multilingual" / "xflickrco_on_flickr8k.json.gz") as file:
        return set(json.load(file))


def flickr8k(data: Path, size: int, split: str = "train") -> CaptionedImages:
    """Photographs with captions in up to seven languages."""
    held_out = evaluation_images(data) if split == "train" else set()
    samples, captions = [], []
    for sample in read_shards(data / "flickr8k", f"{split}-*.tar.gz"):
        entry = json.loads(sample.files["json"])
        if entry["image"] in held_out:
            continue
        samples.append(sample)
        captions.append([text for texts in entry["captions"].values() for text in texts])
    images, aspects = stack_images((sample.files["jpg"] for sample in samples), size)
    return CaptionedImages(
        name="flickr8k",
        images=images,
        captions=captions,
        classes=np.full(len(samples), -1),
        aspects=aspects,
    )


def flickr8k_captions(data: Path, split: str) -> tuple[list[bytes], list[dict[str, list[str]]]]:
    """Encoded photographs of a split, and the captions of each by language."""
    samples = list(read_shards(data / "flickr8k", f"{split}-*.tar.gz"))
    captions = [json.loads(sample.files["json"])["captions"] for sample in samples]
    return [sample.files["jpg"] for sample in samples], captions


def emoji(data: Path, size: int) -> CaptionedImages:
    """Emoji with their names in 126 locales."""
    with gzip.open(data / "emoji" / "emoji_names.json.gz") as file:
        table = json.load(file)
    by_character = {
        character: [row[index] for row in table["names"].values() if row[index]]
        for index, character in enumerate(table["emoji"])
    }
    samples = [
        (sample, by_character[character])
        for sample in read_shards(data / "emoji", "emoji72-*.tar.gz")
        if by_character.get(character := json.loads(sample.files["json"])["emoji"])
    ]
    images, _ = stack_images((sample.files["png"] for sample, _ in samples), size)
    return CaptionedImages(
        name="emoji",
        images=images,
        captions=[names for _, names in samples],
        classes=np.full(len(samples), -1),
    )
