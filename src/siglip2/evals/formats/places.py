"""Images with a class, a place and an income: Dollar Street, GeoDE, Google Landmarks v2."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siglip2.evals.formats.text_files import laid_out, read_csv
from siglip2.evals.images import ImageFile


@dataclass(frozen=True, kw_only=True)
class PlacedImages:
    """Images with what is known of them.

    Attributes:
        images: B pictures.
        labels: (B,) index of the class.
        class_names: C names.
        groups: of each image, by column: `income` quartile, `country`, `region`.
        accepted: (B, C) bool, classes that count as right; None where it is `labels` alone.
    """

    images: list[ImageFile]
    labels: np.ndarray
    class_names: tuple[str, ...]
    groups: dict[str, np.ndarray]
    accepted: np.ndarray | None = None


def read_dollar_street(folder: Path, imagenet_names: list[str]) -> PlacedImages:
    """Dollar Street's `images_v2_imagenet_test.csv`: topics mapped to ImageNet classes, income quartiles.

    Columns as published: `imageRelPath`, `imagenet_synonyms` (a list of class indices), `topics`, `income`
    (US dollars a month, adult equivalent), `country.name`, `region.id`.

    Args:
        folder: holds the table and the pictures.
        imagenet_names: the 1,000 class names.
    """
    path = folder / "images_v2_imagenet_test.csv"
    rows = read_csv(path, ("imageRelPath", "imagenet_synonyms", "income"))
    accepted = np.zeros((len(rows), len(imagenet_names)), bool)
    with laid_out(path):
        for row, entry in zip(accepted, rows, strict=True):
            row[[int(index) for index in json.loads(entry["imagenet_synonyms"])]] = True
        income = np.array([float(entry["income"]) for entry in rows])
    quartile = np.searchsorted(np.quantile(income, (0.25, 0.5, 0.75)), income, side="left")
    return PlacedImages(
        images=[ImageFile(entry["imageRelPath"], folder / entry["imageRelPath"]) for entry in rows],
        labels=accepted.argmax(axis=1),
        class_names=tuple(imagenet_names),
        groups={
            "income": np.array([f"quartile {index + 1}" for index in quartile]),
            "country": np.array([entry.get("country.name", "") for entry in rows]),
            "region": np.array([entry.get("region.id", "") for entry in rows]),
        },
        accepted=accepted,
    )


def read_geode(folder: Path) -> PlacedImages:
    """GeoDE's `index.csv` (`file_path`, `object`, `region`, `ip_country`), the pictures under `images/`."""
    rows = read_csv(folder / "index.csv", ("file_path", "object", "region", "ip_country"))
    names = tuple(sorted({entry["object"] for entry in rows}))
    return PlacedImages(
        images=[ImageFile(entry["file_path"], folder / "images" / entry["file_path"]) for entry in rows],
        labels=np.array([names.index(entry["object"]) for entry in rows]),
        class_names=tuple(name.replace("_", " ") for name in names),
        groups={
            "country": np.array([entry["ip_country"] for entry in rows]),
            "region": np.array([entry["region"] for entry in rows]),
        },
    )


def read_landmarks(folder: Path) -> PlacedImages:
    """Google Landmarks v2: `train.csv` (`id`, `landmark_id`), `train_label_to_category.csv`, pictures by id.

    A landmark's name is the end of its Commons category; pictures lie at `images/a/b/c/abc....jpg`.
    """
    rows = read_csv(folder / "train.csv", ("id", "landmark_id"))
    categories = read_csv(folder / "train_label_to_category.csv", ("landmark_id", "category"))
    names = {
        entry["landmark_id"]: entry["category"].rsplit("Category:", 1)[-1].replace("_", " ")
        for entry in categories
    }
    with laid_out(folder / "train.csv"):
        known = sorted({entry["landmark_id"] for entry in rows} & names.keys(), key=int)
    place = {landmark: index for index, landmark in enumerate(known)}
    rows = [entry for entry in rows if entry["landmark_id"] in place]

    def picture(name: str) -> ImageFile:
        return ImageFile(name, folder / "images" / name[0] / name[1] / name[2] / f"{name}.jpg")

    return PlacedImages(
        images=[picture(entry["id"]) for entry in rows],
        labels=np.array([place[entry["landmark_id"]] for entry in rows]),
        class_names=tuple(names[landmark] for landmark in known),
        groups={},
    )
