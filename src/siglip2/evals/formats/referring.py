"""Referring expressions: RefCOCO's pickles, read without running anything in them, and JSON lines."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.formats.shards import read_samples
from siglip2.evals.formats.text_files import laid_out, read_json, read_json_lines
from siglip2.evals.images import ImageFile


@dataclass(frozen=True, kw_only=True)
class Expressions:
    """Expressions with the box that each means.

    Attributes:
        images: B pictures.
        texts: T expressions.
        image_of_text: (T,) index of each one's picture.
        boxes: (T, 4) x0, y0, x1, y1 as shares of width and height.
        others: of each expression, (N, 4) boxes of its whole category, its own included.
    """

    images: list[ImageFile]
    texts: list[str]
    image_of_text: np.ndarray
    boxes: np.ndarray
    others: list[np.ndarray]

    def take(self, positions: np.ndarray) -> "Expressions":
        """Some of the expressions, with their pictures."""
        owners = np.unique(self.image_of_text[positions])
        return Expressions(
            images=[self.images[index] for index in owners.tolist()],
            texts=[self.texts[index] for index in positions.tolist()],
            image_of_text=np.searchsorted(owners, self.image_of_text[positions]),
            boxes=self.boxes[positions],
            others=[self.others[index] for index in positions.tolist()],
        )


def read_refcoco(folder: Path, data_set: str, split_by: str, split: str) -> Expressions:
    """RefCOCO, RefCOCO+ or RefCOCOg as published: `refs(SPLIT_BY).p`, `instances.json`, `images/`.

    Args:
        folder: holds a folder for each data set, and `images` with COCO train2014.
        data_set: `refcoco`, `refcoco+` or `refcocog`.
        split_by: `unc`, `umd` or `google`.
        split: `train`, `val`, `testA`, `testB` or `test`.

    Raises:
        InvalidInput: a file is missing, or the pickle holds more than plain data.
    """
    refs = read_plain_pickle(folder / data_set / f"refs({split_by}).p")
    path = folder / data_set / "instances.json"
    instances = read_json(path)
    with laid_out(path):
        rows = _refcoco_rows(refs, instances, folder / "images", split)
        return _expressions(rows, f"{data_set} {split}")


def _refcoco_rows(refs: list[dict], instances: dict, images: Path, split: str) -> list[tuple]:
    pictures = {entry["id"]: entry for entry in instances["images"]}
    objects = {entry["id"]: entry for entry in instances["annotations"]}
    by_image: dict[int, list[dict]] = {}
    for entry in objects.values():
        by_image.setdefault(entry["image_id"], []).append(entry)
    rows = []
    for ref in refs:
        if ref["split"] != split:
            continue
        picture, target = pictures[ref["image_id"]], objects[ref["ann_id"]]
        size = (picture["width"], picture["height"])
        same = [e["bbox"] for e in by_image[ref["image_id"]] if e["category_id"] == target["category_id"]]
        image = ImageFile(picture["file_name"], images / picture["file_name"])
        rows += [(image, sentence["raw"], target["bbox"], same, size) for sentence in ref["sentences"]]
    return rows


def read_expression_lines(folder: Path, split: str) -> Expressions:
    """Template expressions over COCO pictures in tars: `refexp_template.jsonl` beside the shards."""
    images = {
        str(sample.json().get("coco_id")): sample.image for sample in read_samples(folder, f"{split}-*.tar*")
    }
    rows, path = [], folder / "refexp_template.jsonl"
    entries = read_json_lines(path)
    with laid_out(path):
        for entry in entries:
            if entry["split"] == split and str(entry["coco_id"]) in images:
                image = images[str(entry["coco_id"])]
                boxes = entry["same_category_boxes"]
                rows.append((image, entry["expression"], entry["target_box_xywh"], boxes, entry["wh"]))
        return _expressions(rows, f"{folder} {split}")


def read_plain_pickle(path: Path):
    """The lists, dictionaries, texts and numbers in a pickle; anything else in it is refused, not run.

    Raises:
        InvalidInput: the file is missing, damaged, or names a class or a function.
    """
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InvalidInput(f"{path} is not a pickle of plain data: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only plain data are read")


def _expressions(rows: list, what: str) -> Expressions:
    if not rows:
        raise InvalidInput(f"{what}: no expressions")
    order: dict[str, int] = {}
    images: list[ImageFile] = []
    for image, *_ in rows:
        if image.key not in order:
            order[image.key] = len(images)
            images.append(image)
    return Expressions(
        images=images,
        texts=[text for _, text, *_ in rows],
        image_of_text=np.array([order[image.key] for image, *_ in rows]),
        boxes=np.array([_share(box, size) for _, _, box, _, size in rows], np.float32),
        others=[np.array([_share(box, size) for box in same], np.float32) for _, _, _, same, size in rows],
    )


def _share(box, size) -> list[float]:
    x, y, width, height = box
    return [x / size[0], y / size[1], (x + width) / size[0], (y + height) / size[1]]
