"""Labelled images: a folder a class, WebDataset tars of `.cls` or `.npy`, or Parquet of `datasets`."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.class_names import imagenet_name
from siglip2.evals.formats.parquet import read_parquet
from siglip2.evals.formats.shards import Sample, read_samples
from siglip2.evals.formats.text_files import laid_out, read_json, read_lines
from siglip2.evals.images import ImageFile
from siglip2.inputs.suffixes import SUFFIXES

_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images with their classes.

    Attributes:
        images: B pictures.
        labels: (B,) index of the class, or (B, C) bool where several classes may hold.
        class_names: C names; empty strings where the data set gives none.
        templates: the data set's own prompts, if it brings them.
        class_keys: C folder names or indices, as the data set calls its classes.
        class_names_from_file: whether a file beside the data names the classes in the order of the labels.
    """

    images: list[ImageFile]
    labels: np.ndarray
    class_names: tuple[str, ...]
    class_keys: tuple[str, ...]
    templates: tuple[str, ...] = ()
    class_names_from_file: bool = False

    def take(self, positions: np.ndarray) -> "LabelledImages":
        """Some of the images, with all classes."""
        images = [self.images[index] for index in positions.tolist()]
        return replace(self, images=images, labels=self.labels[positions])


def read_labelled(folder: Path, split: str) -> LabelledImages:
    """Read a split in whichever of the formats it lies there.

    Args:
        folder: of the data set.
        split: a folder or file prefix in it; the folder itself is taken where there is none of that name.

    Raises:
        InvalidInput: none of the formats is found, or `classnames.txt` has another number of names.
    """
    given = _lines(folder / "classnames.txt")
    inside = folder / split if (folder / split).is_dir() else folder
    if any(inside.glob("*.tar*")):
        return _from_tars(folder, inside, split, given)
    parquet = sorted([*folder.glob(f"data/{split}-*.parquet"), *folder.glob(f"{split}*.parquet")])
    if parquet:
        return _from_parquet(parquet, given)
    if any(path.is_dir() for path in inside.iterdir()):
        return _from_folders(inside, given)
    raise InvalidInput(
        f"{inside} holds neither a folder for each class, nor tars with .cls files, nor {split}*.parquet"
    )


def _from_folders(folder: Path, given: Sequence[str]) -> LabelledImages:
    classes = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    # ImageNet v2 numbers its folders 0 to 999, and text order would mix them up.
    numbered = all(path.name.isdecimal() for path in classes)
    classes.sort(key=lambda path: (int(path.name) if numbered else 0, path.name))
    images, labels = [], []
    for index, each in enumerate(classes):
        for path in sorted(each.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                images.append(ImageFile(str(path.relative_to(folder)), path))
                labels.append(index)
    if not images:
        raise InvalidInput(f"the folders in {folder} hold no images")
    keys = tuple(path.name for path in classes)
    names = tuple((imagenet_name(key) or "") if _WNID.fullmatch(key) else "" for key in keys)
    if not any(names) and not numbered:
        names = tuple(key.replace("_", " ") for key in keys)
    if given and len(given) != len(keys):
        raise InvalidInput(
            f"{folder} holds {len(keys)} folders and classnames.txt {len(given)} names: "
            "it needs one for each, in their order"
        )
    return LabelledImages(
        images=images,
        labels=np.array(labels),
        class_names=tuple(given) or names,
        class_keys=keys,
        class_names_from_file=bool(given),
    )


def _from_tars(folder: Path, inside: Path, split: str, given: Sequence[str]) -> LabelledImages:
    pattern = "*.tar*" if inside != folder else f"{split}*.tar*"
    if not any(inside.glob(pattern)):
        pattern = "*.tar*"
    images, labels = [], []
    for sample in read_samples(inside, pattern):
        images.append(sample.image)
        labels.append(_label_of(sample, inside))
    templates = _lines(folder / "zeroshot_classification_templates.txt")
    if (folder / "classes.json").exists():
        entries = read_json(folder / "classes.json")
        with laid_out(folder / "classes.json"):
            given = [entry["clip_name"] for entry in entries]
    array, count = _as_array(labels, given, folder)
    return LabelledImages(
        images=images,
        labels=array,
        class_names=tuple(given) or ("",) * count,
        class_keys=tuple(str(index) for index in range(count)),
        templates=tuple(template.replace("{c}", "{}") for template in templates),
        class_names_from_file=bool(given),
    )


def _from_parquet(paths: Sequence[Path], given: Sequence[str]) -> LabelledImages:
    images, labels, described = [], [], {}
    for rows, features in read_parquet(paths):
        column = next((name for name in ("label", "labels", "fine_label", "cls") if name in rows), None)
        if column is None:
            raise InvalidInput(f"{paths[0]} has no column label, only {', '.join(rows)}")
        images += rows["image"]
        labels += rows[column]
        described = features.get(column, {})
    with laid_out(paths[0]):
        # Of a column of lists the names stand one level further in.
        inner = described[0] if isinstance(described, list) else described.get("feature", described)
        # WordNet's names have synonyms after a comma; a list that somebody wrote is meant as it is.
        names = given or [name.split(",")[0] for name in inner.get("names", [])]
        array, count = _as_array(labels, names, paths[0].parent)
    return LabelledImages(
        images=images,
        labels=array,
        class_names=tuple(names) or ("",) * count,
        class_keys=tuple(str(index) for index in range(count)),
        class_names_from_file=bool(given),
    )


def _label_of(sample: Sample, folder: Path) -> int | list[int]:
    """From `.cls`, a `.npy` of zeros and ones for several classes (clip_benchmark), or `label` in `.json`."""
    if "npy" in sample.files:
        with laid_out(folder / f"{sample.image.key}.npy"):
            return np.flatnonzero(np.load(io.BytesIO(sample.files["npy"]), allow_pickle=False) > 0).tolist()
    label = sample.files.get("cls")
    if label is None and "json" in sample.files:
        label = sample.json().get("label")
    try:
        return [int(each) for each in label] if isinstance(label, list) else int(label)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise InvalidInput(
            f"{folder}: {sample.image.key} has no .cls or .npy file and no label in its .json"
        ) from None


def _as_array(
    labels: Sequence[int | Sequence[int]], names: Sequence[str], folder: Path
) -> tuple[np.ndarray, int]:
    """One class an image as (B,), several as (B, C) bool; and C."""
    several = [list(label) if isinstance(label, Sequence) else [label] for label in labels]
    count = max(len(names), max((max(each, default=-1) for each in several), default=-1) + 1)
    if any(min(each, default=0) < 0 for each in several):
        raise InvalidInput(f"{folder}: some images have a label below 0, which stands for an unknown class")
    if names and len(names) < count:
        raise InvalidInput(
            f"{folder}: labels go up to {count - 1}, and only {len(names)} classes have a name"
        )
    if not any(isinstance(label, Sequence) for label in labels):
        return np.array(labels), count
    array = np.zeros((len(several), count), bool)
    for row, each in zip(array, several, strict=True):
        row[each] = True
    return array, count


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_lines(path)] if path.exists() else []
