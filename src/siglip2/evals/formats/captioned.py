"""Captioned images: COCO JSON, Karpathy splits, XM3600, XTD10, WebDataset tars, or a folder with a table."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.formats.parquet import read_parquet
from siglip2.evals.formats.shards import Sample, read_samples
from siglip2.evals.formats.text_files import (
    laid_out,
    lines_of,
    read_csv,
    read_json,
    read_json_lines,
    read_lines,
)
from siglip2.evals.images import ImageFile


@dataclass(frozen=True, kw_only=True)
class CaptionedImages:
    """Images with their captions.

    Attributes:
        images: B pictures.
        captions: T texts.
        image_of_caption: (T,) index of each caption's image.
    """

    images: list[ImageFile]
    captions: list[str]
    image_of_caption: np.ndarray

    def take(self, positions: np.ndarray) -> "CaptionedImages":
        """Some of the images, with their captions."""
        place = {index: new for new, index in enumerate(positions.tolist())}
        kept = [i for i, owner in enumerate(self.image_of_caption.tolist()) if owner in place]
        return CaptionedImages(
            images=[self.images[index] for index in place],
            captions=[self.captions[index] for index in kept],
            image_of_caption=np.array([place[int(self.image_of_caption[index])] for index in kept]),
        )


def paired(pairs: Iterable[tuple[ImageFile, list[str]]]) -> CaptionedImages:
    """From pictures with lists of captions; a picture without one stays in the corpus."""
    images, captions, owners = [], [], []
    for image, texts in pairs:
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InvalidInput(f"the captions of {image.key} are to be a list of texts")
        owners += [len(images)] * len(texts)
        captions += texts
        images.append(image)
    if not captions:
        raise InvalidInput("no image has a caption in this split or language")
    return CaptionedImages(images=images, captions=captions, image_of_caption=np.array(owners))


def read_coco(annotations: Path, images: Path) -> CaptionedImages:
    """COCO's own `captions_*.json` beside the pictures."""
    content = read_json(annotations)
    texts: dict[int, list[str]] = defaultdict(list)
    with laid_out(annotations):
        for entry in content["annotations"]:
            texts[entry["image_id"]].append(entry["caption"].strip())
        return paired(
            (ImageFile(entry["file_name"], images / entry["file_name"]), texts[entry["id"]])
            for entry in content["images"]
        )


def read_karpathy(annotations: Path, images: Path, split: str = "test") -> CaptionedImages:
    """Karpathy's `dataset_coco.json` or `dataset_flickr30k.json`: all captions of the split's images."""
    content = read_json(annotations)

    def picture(entry: dict) -> ImageFile:
        path = images / entry.get("filepath", "") / entry["filename"]
        return ImageFile(entry["filename"], path if path.exists() else images / entry["filename"])

    with laid_out(annotations):
        return paired(
            (picture(entry), [each["raw"].strip() for each in entry["sentences"]])
            for entry in content["images"]
            if entry["split"] == split
        )


def read_crossmodal3600(folder: Path, language: str) -> CaptionedImages:
    """XM3600: `captions.jsonl` and `images/KEY.jpg`; every caption of a language, not the first alone."""
    entries = read_json_lines(folder / "captions.jsonl")
    with laid_out(folder / "captions.jsonl"):
        return paired(
            (
                ImageFile(entry["image/key"], folder / "images" / f"{entry['image/key']}.jpg"),
                entry.get(language, {}).get("caption", []),
            )
            for entry in entries
        )


def read_xtd10(folder: Path, language: str) -> CaptionedImages:
    """XTD10: `test_image_names.txt` and `test_1kcaptions_LANG.txt`, one caption an image, in one order."""
    names = read_lines(folder / "test_image_names.txt")
    texts = read_lines(folder / f"test_1kcaptions_{language}.txt")
    if len(names) != len(texts):
        raise InvalidInput(f"{folder}: {len(names)} image names but {len(texts)} captions in {language}")
    return paired(
        (ImageFile(name, folder / "images" / name), [text]) for name, text in zip(names, texts, strict=True)
    )


def split_samples(folder: Path, split: str) -> list[Sample]:
    """Samples of a split's WebDataset tars: in a folder of its name, or files that begin with it."""
    inside = folder / split if (folder / split).is_dir() else folder
    return list(read_samples(inside, "*.tar*" if inside != folder else f"{split}*.tar*"))


def read_tars(samples: Iterable[Sample], language: str = "en") -> CaptionedImages:
    """WebDataset samples: `.txt` with a caption a line, or `.json` with captions by language."""

    def texts(sample: Sample) -> list[str]:
        if "json" in sample.files and "captions" in (entry := sample.json()):
            found = entry["captions"]
            return found.get(language, []) if isinstance(found, dict) else found
        return lines_of(sample.text("txt"))

    return paired((sample.image, texts(sample)) for sample in samples)


def read_table(folder: Path) -> CaptionedImages:
    """A folder of pictures with `captions.csv`, `captions.jsonl` or Parquet: columns `path` and `caption`.

    Raises:
        InvalidInput: none of them is there, or a column is missing.
    """
    parquet = sorted(folder.glob("*.parquet"))
    texts: dict[str, list[str]] = defaultdict(list)
    pictures: dict[str, ImageFile] = {}
    if (table := folder / "captions.csv").exists():
        rows = read_csv(table)
    elif (table := folder / "captions.jsonl").exists():
        rows = read_json_lines(table)
    elif parquet:
        for columns, _ in read_parquet(parquet):
            captions = next((columns[n] for n in ("caption", "captions", "text") if n in columns), None)
            if captions is None:
                raise InvalidInput(f"{parquet[0]} has no column caption, only {', '.join(columns)}")
            for image, found in zip(columns["image"], captions, strict=True):
                pictures.setdefault(image.key, image)
                texts[image.key] += [found] if isinstance(found, str) else list(found or ())
        return paired((pictures[key], texts[key]) for key in pictures)
    else:
        raise InvalidInput(f"{folder} holds no captions.csv, captions.jsonl or *.parquet")
    for number, row in enumerate(rows, 1):
        path, caption = row.get("path") or row.get("image"), row.get("caption")
        if not path or caption is None:
            raise InvalidInput(f"{table}, row {number}: expected the columns path and caption")
        if not isinstance(path, str) or not isinstance(caption, str):
            raise InvalidInput(f"{table}, row {number}: path and caption are to be one text each")
        pictures.setdefault(path, ImageFile(path, folder / path))
        texts[path].append(caption)
    return paired((pictures[key], texts[key]) for key in pictures)
