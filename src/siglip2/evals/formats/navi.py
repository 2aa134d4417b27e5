"""NAVI: photographs of objects with aligned depth (Jampani et al. 2023), as in `navi_v1.5/`."""

from pathlib import Path

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.formats.dense import DenseImages
from siglip2.evals.formats.text_files import laid_out, read_json
from siglip2.evals.images import ImageFile

_UNIT = 0.001
"""Metres of one unit of depth."""

_DISPARITY = 1 / (10 * (2**16 - 1))
"""Of one level of a PNG: they hold ten times the inverse of depth, in 65,535ths."""


def read_navi(folder: Path, split: str) -> DenseImages:
    """All objects and scenes of a split; each photograph has a focal length of its own.

    Args:
        folder: holds `OBJECT/SCENE/annotations.json`, `images/` and `depth/`.
        split: `train` or `val`.
    """
    images, depths, focals = [], [], []
    for annotations in sorted(folder.glob("*/*/annotations.json")):
        scene = annotations.parent
        entries = read_json(annotations)
        with laid_out(annotations):
            for entry in entries:
                if entry["split"] != split:
                    continue
                stem = Path(entry["filename"]).stem
                key = f"{scene.parent.name}/{scene.name}/{stem}"
                images.append(ImageFile(key, scene / "images" / entry["filename"]))
                depths.append(ImageFile(f"{key}.png", scene / "depth" / f"{stem}.png"))
                focals.append(entry["camera"]["focal_length"] / entry["image_size"][1])
    if not images:
        raise InvalidInput(f"{folder} has no photograph of the split {split} in */*/annotations.json")
    return DenseImages(
        images=images, values=depths, unit=_UNIT, disparity=_DISPARITY, focals=np.array(focals, np.float32)
    )
