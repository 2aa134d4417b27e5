"""Reading safetensors by memory map, writing them in any precision.

The library's numpy side knows no bfloat16 and copies what it reads; the token embedding alone is half of the
model, and a prompt touches 64 of its 256,000 rows. Reading is therefore a map of the file; writing is the
library's.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import serialize_file

from siglip2.errors import InvalidCheckpoint
from siglip2.weights.tensor import DType, StoredTensor

_DTYPES: dict[str, tuple[type, DType]] = {
    "F32": (np.float32, "float32"),
    "F16": (np.float16, "float16"),
    "BF16": (np.uint16, "bfloat16"),
}
_NAMES = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16"}


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Map a file: names to tensors.

    Raises:
        InvalidCheckpoint: not a safetensors file, cut short, or a precision other than float32, float16 and
            bfloat16.
    """
    try:
        file = np.memmap(path, np.uint8, mode="r")
        header_size = int.from_bytes(file[:8].tobytes(), "little")
        header = json.loads(file[8 : 8 + header_size].tobytes())
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _map_tensor(file, 8 + header_size, name, entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidCheckpoint(f"{path} is not a complete safetensors file: {error}") from error


def _map_tensor(file: np.memmap, start: int, name: str, entry: dict) -> StoredTensor:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"{name} is {entry['dtype']}; float32, float16 and bfloat16 are read")
    numpy_type, dtype = _DTYPES[entry["dtype"]]
    begin, end = entry["data_offsets"]
    if start + end > len(file):
        raise ValueError(f"{name} ends past the end of the file")
    bits = np.asarray(file[start + begin : start + end]).view(numpy_type).reshape(entry["shape"])
    return StoredTensor(bits, dtype)


def write_safetensors(path: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Write tensors in their own precision."""
    content = {
        name: {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data": np.ascontiguousarray(tensor.bits).tobytes(),
        }
        for name, tensor in tensors.items()
    }
    serialize_file(content, str(path), {"format": "pt"})
