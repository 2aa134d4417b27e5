"""Folders as `transformers` writes them: `config.json`, one or several safetensors, inputs beside them.

Model type `siglip` (fixed resolution) stores its patch embedding as a convolution, `siglip2` (NaFlex) as a
linear map; in memory it is linear for both.
"""

from collections.abc import Mapping
from pathlib import Path

from siglip2.config import VisionConfig
from siglip2.errors import InvalidCheckpoint
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.hf_config import parse_config, write_config
from siglip2.weights.hf_inputs import find_tokenizer, read_preprocessing, with_saved_size, write_inputs
from siglip2.weights.json_file import member, read_json, write_json
from siglip2.weights.safetensors_file import read_safetensors, write_safetensors
from siglip2.weights.tensor import StoredTensor

PATCH_WEIGHT = "vision_model.embeddings.patch_embedding.weight"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

# Older files carry the row numbers of the position tables; they are not weights.
_BUFFERS = ("vision_model.embeddings.position_ids", "text_model.embeddings.position_ids")


def read_hf(folder: Path, *, weights: Path | None = None) -> Checkpoint:
    """Read a folder of the Hugging Face layout. Tensors stay in their files until used.

    Args:
        folder: where `config.json` is.
        weights: one safetensors file to read; by default `model.safetensors`, or the shards of its index.

    Raises:
        InvalidCheckpoint: something is missing, damaged or of the wrong shape, or all weights are pickled.
    """
    path = folder / CONFIG
    config = with_saved_size(parse_config(read_json(path), str(path)), folder)
    tensors: dict[str, StoredTensor] = {}
    for file in [weights] if weights else _weight_files(folder):
        tensors |= read_safetensors(file)
    for name in _BUFFERS:
        tensors.pop(name, None)
    if PATCH_WEIGHT in tensors:
        tensors[PATCH_WEIGHT] = _linear_patches(tensors[PATCH_WEIGHT], config.vision)
    return Checkpoint(
        config=config,
        tensors=tensors,
        preprocessing=read_preprocessing(folder),
        tokenizer=find_tokenizer(folder),
        source=str(weights or folder),
    )


def write_hf(checkpoint: Checkpoint, folder: Path, *, max_shard_bytes: int = 50 * 10**9) -> None:
    """Write a folder that `transformers` loads: configuration, weights, preprocessing and vocabulary.

    Args:
        checkpoint: what to write; every tensor keeps its precision.
        folder: made if missing; files of the same names in it are replaced.
        max_shard_bytes: weights beyond this are split over several files with an index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(checkpoint.tensors)
    if checkpoint.model_type == "siglip":
        tensors[PATCH_WEIGHT] = _convolution(tensors[PATCH_WEIGHT], checkpoint.config.vision)
    _write_weights(tensors, folder, max_shard_bytes)
    write_description(checkpoint, folder)


def write_description(checkpoint: Checkpoint, folder: Path) -> None:
    """Write what lies beside the weights: configuration, preprocessing and vocabulary.

    Args:
        checkpoint: the model.
        folder: files of the same names in it are replaced.
    """
    write_json(folder / CONFIG, write_config(checkpoint.config, checkpoint.dtype))
    write_inputs(checkpoint.config, checkpoint.preprocessing, checkpoint.tokenizer, folder)


def _linear_patches(weight: StoredTensor, vision: VisionConfig) -> StoredTensor:
    """(D, 3, p, p) of a convolution to (D, p*p*3) in the order (row, column, channel)."""
    side = vision.patch_size
    if vision.naflex or weight.shape != (vision.width, vision.num_channels, side, side):
        return weight  # linear already, or wrong, which the comparison of shapes will say
    return StoredTensor(weight.bits.transpose(0, 2, 3, 1).reshape(vision.width, -1), weight.dtype)


def _convolution(weight: StoredTensor, vision: VisionConfig) -> StoredTensor:
    """The inverse of `_linear_patches`."""
    side = vision.patch_size
    bits = weight.bits.reshape(vision.width, side, side, vision.num_channels)
    return StoredTensor(bits.transpose(0, 3, 1, 2), weight.dtype)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        names = set(map(str, member(read_json(folder / INDEX), "weight_map", folder / INDEX).values()))
        outside = [name for name in names if Path(name).name != name]
        if outside:
            raise InvalidCheckpoint(f"{folder / INDEX} names files outside of its folder: {outside}")
        files = [folder / name for name in sorted(names)]
    else:
        files = [folder / WEIGHTS]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise InvalidCheckpoint(f"{folder} has no {', '.join(missing) or WEIGHTS}")
    return files


def _write_weights(tensors: Mapping[str, StoredTensor], folder: Path, max_shard_bytes: int) -> None:
    shards: list[dict[str, StoredTensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.bits.nbytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.bits.nbytes
    if len(shards) == 1:
        write_safetensors(folder / WEIGHTS, tensors)
        (folder / INDEX).unlink(missing_ok=True)
        return
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        write_safetensors(folder / name, shard)
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    total = sum(tensor.bits.nbytes for tensor in tensors.values())
    (folder / WEIGHTS).unlink(missing_ok=True)
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
