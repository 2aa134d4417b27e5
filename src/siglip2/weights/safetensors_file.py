"""Reading safetensors by memory map, writing them in any precision.

The library's numpy side needs another package for bfloat16 and copies what it reads; the token embedding
alone is half of the model, and a prompt touches 64 of its 256,000 rows. So the library checks the file, and
its tensors are views of a memory map. The writer streams, one tensor in memory at a time.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from siglip2.errors import InvalidCheckpoint
from siglip2.weights.tensor import DType, StoredTensor

_DTYPES: dict[str, tuple[str, DType]] = {
    "F32": ("<f4", "float32"),
    "F16": ("<f2", "float16"),
    "BF16": ("<u2", "bfloat16"),
}
_CODES: dict[DType, str] = {dtype: code for code, (_, dtype) in _DTYPES.items()}


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Map a file: names to tensors.

    Raises:
        InvalidCheckpoint: not a safetensors file, cut short, or a precision other than float32, float16 and
            bfloat16.
    """
    try:
        # Checks the header: every tensor inside of the file, none overlapping, sizes that fit the shapes.
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise InvalidCheckpoint(f"{path} is not a complete safetensors file: {error}") from error
    file = np.memmap(path, np.uint8, mode="r")
    start = 8 + int.from_bytes(file[:8].tobytes(), "little")
    header = json.loads(file[8:start].tobytes())
    header.pop("__metadata__", None)
    data = np.asarray(file)[start:]
    return {name: _map_tensor(data, f"{name} in {path}", entry) for name, entry in header.items()}


def _map_tensor(data: np.ndarray, name: str, entry: dict) -> StoredTensor:
    if entry["dtype"] not in _DTYPES:
        raise InvalidCheckpoint(f"{name} is {entry['dtype']}; float32, float16 and bfloat16 are read")
    numpy_type, dtype = _DTYPES[entry["dtype"]]
    begin, end = entry["data_offsets"]
    return StoredTensor(data[begin:end].view(numpy_type).reshape(entry["shape"]), dtype)


def write_safetensors(path: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Write tensors in their own precision, in the order given.

    The file appears under its name when it is complete, so that it may replace the one it was read from.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, tensor in tensors.items():
        end = position + tensor.bits.nbytes
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": (position, end),
        }
        position = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # keeps the data aligned
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor.bits).data)
    partial.replace(path)
