"""Reading `.npz` by memory map and without pickle, writing it one array at a time."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from siglip2.errors import InvalidCheckpoint
from siglip2.weights.tensor import StoredTensor

_LOCAL_HEADER = 30
"""Bytes of a zip member's own header before its name."""


def read_npz(path: Path) -> dict[str, StoredTensor]:
    """Arrays of a file by name. Those stored without compression stay in the file until used.

    Raises:
        InvalidCheckpoint: not an `.npz` file, damaged, or holding anything but float32, float16 and bfloat16.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            file = np.asarray(np.memmap(path, np.uint8, mode="r"))
            arrays = {
                member.filename.removesuffix(".npy"): _read_member(archive, member, file)
                for member in archive.infolist()
                if member.filename.endswith(".npy")
            }
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        raise InvalidCheckpoint(f"{path} is not a complete .npz file: {error}") from error
    try:
        return {name: StoredTensor.of(array) for name, array in arrays.items()}
    except InvalidCheckpoint as error:
        raise InvalidCheckpoint(f"{path}: {error}") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: np.ndarray) -> np.ndarray:
    with archive.open(member) as stream:
        if member.compress_type != zipfile.ZIP_STORED:
            return np.lib.format.read_array(stream, allow_pickle=False)
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{member.filename} has the unknown array version {version}")
        shape, fortran, dtype = read_header(stream)
        header_size = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds pickled objects, which are never opened")
    # The name and the extra field may be longer here than in the zip's directory.
    local = file[member.header_offset : member.header_offset + _LOCAL_HEADER]
    name_size, extra_size = local[26:30].view("<u2")
    start = member.header_offset + _LOCAL_HEADER + int(name_size) + int(extra_size)
    values = file[start + header_size : start + member.file_size].view(dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def write_npz(path: Path, arrays: Iterable[tuple[str, StoredTensor]]) -> None:
    """Write named arrays without compression, bfloat16 as two-byte void as big_vision does.

    The file appears under its name when it is complete.
    """
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, tensor in arrays:
            bits = np.ascontiguousarray(tensor.bits)
            if tensor.dtype == "bfloat16":
                bits = bits.view("V2")
            # A fixed date, so that the same weights give the same file.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, bits, allow_pickle=False)
    partial.replace(path)
