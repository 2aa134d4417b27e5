"""big_vision's `.npz`: the files that the authors released, and the reference for everything else.

Towers may be stacked (`encoderblock/...` with a leading axis of blocks) or not (`encoderblock_0/...`);
written files are stacked, as the released fixed-resolution ones are.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from siglip2.config import ModelConfig
from siglip2.errors import InvalidCheckpoint
from siglip2.weights.big_vision_config import infer_config, stacked_towers
from siglip2.weights.big_vision_names import Correspondence, correspondences
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.hf_inputs import find_tokenizer, read_preprocessing, with_saved_size, write_inputs
from siglip2.weights.npz_file import read_npz, write_npz
from siglip2.weights.shapes import Shape, check_shapes, expected_shapes
from siglip2.weights.tensor import DType, StoredTensor

WEIGHTS = "model.npz"
_PREFIX = "params/"


def read_big_vision(path: Path) -> Checkpoint:
    """Read an `.npz` file; a preprocessor file and a vocabulary beside it are used.

    The configuration is inferred from the shapes. Arrays outside of `params/`, such as the state of an
    optimiser, are left unread.

    Raises:
        InvalidCheckpoint: not such a file, or arrays are missing, left over or of the wrong shape.
    """
    arrays = read_npz(path)
    if any(name.startswith(_PREFIX) for name in arrays):
        arrays = {name[len(_PREFIX) :]: array for name, array in arrays.items() if name.startswith(_PREFIX)}
    found = {name: array.shape for name, array in arrays.items()}
    config = with_saved_size(infer_config(found, str(path)), path.parent)
    places, stacked = correspondences(config), stacked_towers(arrays)
    check_shapes(_expected_arrays(config, places, stacked), found, str(path))
    shapes = expected_shapes(config)
    return Checkpoint(
        config=config,
        tensors={
            place.canonical: _to_canonical(place, shapes[place.canonical], arrays, stacked)
            for place in places
        },
        preprocessing=read_preprocessing(path.parent),
        tokenizer=find_tokenizer(path.parent),
        source=str(path),
    )


def write_big_vision(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `model.npz` with stacked blocks, and the preprocessing and vocabulary beside it.

    Every tensor keeps its precision.

    Raises:
        InvalidCheckpoint: the blocks differ in precision, so that they cannot be stacked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_npz(folder / WEIGHTS, _stacked_arrays(checkpoint))
    write_inputs(checkpoint.config, checkpoint.preprocessing, checkpoint.tokenizer, folder)


def _expected_arrays(
    config: ModelConfig, places: list[Correspondence], stacked: frozenset[str]
) -> dict[str, Shape]:
    depth = {"img": config.vision.depth, "txt": config.text.depth}
    return {
        place.array_name(part, stacked): (
            (depth[place.tower], *place.shape) if place.in_stack(stacked) else place.shape
        )
        for place in places
        for part in place.parts
    }


def _to_canonical(
    place: Correspondence, shape: Shape, arrays: Mapping[str, StoredTensor], stacked: frozenset[str]
) -> StoredTensor:
    """One canonical tensor: a view of the file, unless parts have to be fused."""
    part_shape = (shape[0] // len(place.parts), *shape[1:])
    pieces = []
    for part in place.parts:
        bits = arrays[place.array_name(part, stacked)].bits
        if place.in_stack(stacked):
            bits = bits[place.block]
        pieces.append(bits.reshape(part_shape[::-1]).T if place.transposed else bits.reshape(part_shape))
    dtypes: set[DType] = {arrays[place.array_name(part, stacked)].dtype for part in place.parts}
    if len(dtypes) > 1:
        raise InvalidCheckpoint(f"{', '.join(place.parts)} differ in precision: {', '.join(sorted(dtypes))}")
    return StoredTensor(pieces[0] if len(pieces) == 1 else np.concatenate(pieces), dtypes.pop())


def _stacked_arrays(checkpoint: Checkpoint) -> Iterator[tuple[str, StoredTensor]]:
    """big_vision's arrays, one at a time."""
    places: dict[tuple[str, ...], list[Correspondence]] = {}
    for place in correspondences(checkpoint.config):
        places.setdefault(place.parts, []).append(place)
    for parts, blocks in places.items():
        dtypes: set[DType] = {checkpoint.tensors[place.canonical].dtype for place in blocks}
        if len(dtypes) > 1:
            raise InvalidCheckpoint(
                f"{checkpoint.source}: {parts[0]} is {' and '.join(sorted(dtypes))} in different blocks: "
                "convert to one precision"
            )
        dtype = dtypes.pop()
        for number, part in enumerate(parts):
            pieces = [_from_canonical(place, checkpoint, number) for place in blocks]
            bits = pieces[0] if blocks[0].block is None else np.stack(pieces)
            yield _PREFIX + part, StoredTensor(bits, dtype)


def _from_canonical(place: Correspondence, checkpoint: Checkpoint, part: int) -> np.ndarray:
    """One part of a tensor in big_vision's shape: the inverse of `_to_canonical`."""
    bits = checkpoint.tensors[place.canonical].bits
    rows = len(bits) // len(place.parts)
    piece = bits[part * rows : (part + 1) * rows]
    return (piece.T if place.transposed else piece).reshape(place.shape)
