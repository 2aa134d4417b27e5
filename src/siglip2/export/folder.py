"""Whether a model may be exported into a folder: never over the files of another."""

from pathlib import Path

import numpy as np

from siglip2.errors import InvalidCheckpoint, InvalidInput
from siglip2.export.facts import FACTS, facts_of
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.hf import CONFIG
from siglip2.weights.json_file import read_json
from siglip2.weights.load import load_checkpoint

_WEIGHTS = ("*.safetensors", "*.npz")


def check_folder(checkpoint: Checkpoint, folder: Path, *, graphs: bool) -> None:
    """Refuse a folder in which files of two models would mix, or a model's own files would be replaced.

    An export of the same model may be repeated, and may lie beside one in another format.

    Args:
        checkpoint: what is to be exported.
        folder: where to; it need not exist.
        graphs: whether graphs are written, or else weights.

    Raises:
        InvalidInput: another model is there, or graphs were to lie among a model's weights.
    """
    exported = (folder / FACTS).is_file()
    if exported and read_json(folder / FACTS) != facts_of(checkpoint):
        raise InvalidInput(
            f"{folder} holds graphs of another model (see its {FACTS}): name an empty folder, or delete it"
        )
    patterns = _WEIGHTS if exported else (CONFIG, *_WEIGHTS)
    found = [each.name for pattern in patterns for each in sorted(folder.glob(pattern))]
    if found and graphs and not exported:
        raise InvalidInput(
            f"{folder} holds a model of its own ({found[0]}), and graphs are not written among its files: "
            "name an empty folder"
        )
    if found and not graphs and not _same_weights(checkpoint, folder):
        raise InvalidInput(
            f"{folder} holds another model ({found[0]}): name an empty folder, or delete what is there"
        )


def _same_weights(checkpoint: Checkpoint, folder: Path) -> bool:
    try:
        there = load_checkpoint(folder)
    except InvalidCheckpoint:
        return False
    return there.tensors.keys() == checkpoint.tensors.keys() and all(
        np.array_equal(there.read(name), checkpoint.read(name)) for name in checkpoint.tensors
    )
