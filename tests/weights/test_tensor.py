"""Precisions, rows and memory maps."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from siglip2.errors import InvalidCheckpoint, InvalidInput
from siglip2.weights.safetensors_file import read_safetensors, write_safetensors
from siglip2.weights.tensor import StoredTensor

VALUES = np.array([0.0, -0.0, 1.0, -1.5, 3.14159, 1e-40, 3.3e38, np.inf, -np.inf, np.nan], np.float32)


def test_bfloat16_rounds_as_ml_dtypes_does() -> None:
    rng = np.random.default_rng(0)
    random_bits = rng.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    values = np.concatenate([VALUES, random_bits, ties])
    ours = StoredTensor.of(values).cast("bfloat16").float32()
    with np.errstate(invalid="ignore"):
        expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(ours, expected)


def test_bfloat16_is_read_exactly() -> None:
    values = np.arange(1000, dtype=np.float32).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(StoredTensor.of(values).float32(), values.astype(np.float32))
    np.testing.assert_array_equal(StoredTensor.of(values.view("V2")).float32(), values.astype(np.float32))


def test_float16_overflow_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="70000 is too large for float16"):
        StoredTensor.of(np.array([1.0, 7e4], np.float32)).cast("float16")


def test_other_numbers_are_refused() -> None:
    with pytest.raises(InvalidCheckpoint, match="float64"):
        StoredTensor.of(np.zeros(3))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rows_gather_without_reading_the_rest(dtype, tmp_path: Path) -> None:
    table = StoredTensor.of(np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)).cast(dtype)
    write_safetensors(tmp_path / "t.safetensors", {"table": table})
    mapped = read_safetensors(tmp_path / "t.safetensors")["table"]
    assert not mapped.bits.flags.owndata
    ids = np.array([[3, 0, 39], [3, 3, 7]])
    np.testing.assert_array_equal(mapped.rows(ids), table.float32()[ids])
    assert mapped.rows(ids).dtype == np.float32
    with pytest.raises(InvalidInput, match="row 40 of a table of 40"):
        mapped.rows(np.array([40]))
    with pytest.raises(InvalidInput, match="table of 40"):
        mapped.rows(np.array([-1]))


def test_float32_is_not_copied(tmp_path: Path) -> None:
    save_file({"x": np.ones((4, 4), np.float32)}, tmp_path / "x.safetensors")
    values = read_safetensors(tmp_path / "x.safetensors")["x"].float32()
    assert not values.flags.owndata
    assert not values.flags.writeable


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    arrays = {
        "a": np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32),
        "b": np.ones((2, 2), np.float16),
        "c": np.arange(3, dtype=np.float32).astype(ml_dtypes.bfloat16),
    }
    write_safetensors(tmp_path / "x", {name: StoredTensor.of(array) for name, array in arrays.items()})
    loaded = load_file(tmp_path / "x")
    assert all(
        loaded[name].tobytes() == array.tobytes() and loaded[name].dtype == array.dtype
        for name, array in arrays.items()
    )


def test_unpadded_headers_are_read(tmp_path: Path) -> None:
    header = b'{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'
    assert len(header) % 4
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + np.arange(3, dtype="<f4").tobytes())
    values = read_safetensors(path)["x"].float32()
    np.testing.assert_array_equal(values, [0, 1, 2])
    assert values.flags.aligned


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "integers", "huge_header"])
def test_damaged_files(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": np.ones(100, np.int64 if damage == "integers" else np.float32)}, path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-7],
            "text": b"version https://git-lfs.github.com/spec/v1\n" * 3,
            "empty": b"",
            "integers": content,
            "huge_header": (2**60).to_bytes(8, "little") + content[8:],
        }[damage]
    )
    with pytest.raises(InvalidCheckpoint, match=r"x\.safetensors"):
        read_safetensors(path)
