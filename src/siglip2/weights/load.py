"""Opening a model by name, and saving one, whatever the format."""

from pathlib import Path
from typing import Literal

from siglip2.errors import InvalidCheckpoint, InvalidInput
from siglip2.weights import big_vision, hf
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.locate import locate
from siglip2.weights.tensor import DType

Format = Literal["hf", "big_vision"]
"""`hf` is the folder of `transformers`; `big_vision` is the authors' `.npz`."""

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def load_checkpoint(model: str | Path, *, revision: str | None = None, offline: bool = False) -> Checkpoint:
    """Open a model. Its tensors stay on disk until they are used.

    Args:
        model: name, folder, file or repository, as `siglip2.weights.locate.locate` takes.
        revision: branch, tag or commit of a repository on the hub.
        offline: look in the hub's local cache only.

    Raises:
        ModelNotFound: the name leads nowhere.
        InvalidCheckpoint: what is there is not a SigLIP 2 model, or is in a format that can run code.
    """
    path = locate(model, revision=revision, offline=offline)
    if path.is_dir():
        return _load_folder(path)
    if path.suffix == ".npz":
        return big_vision.read_big_vision(path)
    if path.suffix == ".safetensors":
        return hf.read_hf(path.parent, weights=path)
    raise InvalidCheckpoint(_refusal(path, [path]))


def save_checkpoint(
    checkpoint: Checkpoint, folder: str | Path, *, dtype: DType | None = None, format: Format = "hf"
) -> None:
    """Write a model with its preprocessing and vocabulary.

    Args:
        checkpoint: what to write.
        folder: made if missing; files of the same names in it are replaced.
        dtype: precision of the written tensors, rounded to nearest even; as they are if None.
        format: layout of the folder.

    Raises:
        InvalidInput: an unknown precision or format, or a value too large for float16.
    """
    if dtype not in (None, "float32", "float16", "bfloat16"):
        raise InvalidInput(f"precision {dtype!r} is not one of float32, float16, bfloat16")
    if dtype is not None:
        checkpoint = checkpoint.cast(dtype)
    if format == "hf":
        hf.write_hf(checkpoint, Path(folder))
    elif format == "big_vision":
        big_vision.write_big_vision(checkpoint, Path(folder))
    else:
        raise InvalidInput(f"format {format!r} is not one of hf, big_vision")


def weights_in(folder: Path) -> list[str]:
    """Names of files in a folder that `save_checkpoint` would write to, or that name files of weights."""
    return [name for name in (hf.WEIGHTS, hf.INDEX, big_vision.WEIGHTS) if (folder / name).exists()]


def _load_folder(folder: Path) -> Checkpoint:
    if (folder / hf.WEIGHTS).is_file() or (folder / hf.INDEX).is_file():
        return hf.read_hf(folder)
    archives = sorted(folder.glob("*.npz"))
    if len(archives) == 1:
        return big_vision.read_big_vision(archives[0])
    if archives:
        raise InvalidCheckpoint(
            f"{folder} holds several models: name one file of {', '.join(path.name for path in archives)}"
        )
    raise InvalidCheckpoint(_refusal(folder, [path for path in sorted(folder.iterdir()) if path.is_file()]))


def _refusal(path: Path, candidates: list[Path]) -> str:
    pickled = [each.name for each in candidates if each.suffix in _PICKLED]
    if pickled:
        return (
            f"{path}: {', '.join(pickled)} is a pickle, which can run code when it is opened. "
            "Use a model.safetensors with its config.json, or a big_vision .npz; where you trust the file, "
            "transformers converts it: "
            "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    return f"{path} holds no weights: expected a model.safetensors with its config.json, or a big_vision .npz"
