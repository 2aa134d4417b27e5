"""big_vision's archives: the reference's own files, both layouts, bfloat16, damage."""

import zipfile
from dataclasses import replace
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from random_models import ODD_SIZE, assert_same_tensors, random_checkpoint

from siglip2.config import PUBLISHED, PublishedCheckpoint
from siglip2.errors import InvalidCheckpoint
from siglip2.weights.big_vision import read_big_vision, write_big_vision
from siglip2.weights.big_vision_config import infer_config
from siglip2.weights.big_vision_names import correspondences
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.load import load_checkpoint, save_checkpoint
from siglip2.weights.npz_file import read_npz

GOLDEN = ("fixed_p16_r64_scan", "fixed_p14_r70_widetower", "naflex_p16_n64")


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def save(path: Path, arrays: dict[str, np.ndarray], *, compressed: bool = False) -> None:
    write = np.savez_compressed if compressed else np.savez
    write(path, **arrays)  # pyright: ignore[reportArgumentType]


def assert_same_arrays(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert (array.dtype, array.shape) == (right[name].dtype, right[name].shape), name
        assert array.tobytes() == right[name].tobytes(), name


def stack(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The stacked layout of unstacked arrays."""
    stacked = {name: array for name, array in arrays.items() if "encoderblock_" not in name}
    for first in [name for name in arrays if "encoderblock_0/" in name]:
        names = [first.replace("encoderblock_0/", f"encoderblock_{block}/") for block in range(99)]
        target = first.replace("encoderblock_0/", "encoderblock/")
        stacked[target] = np.stack([arrays[name] for name in names if name in arrays])
    return stacked


@pytest.mark.parametrize("name", GOLDEN)
def test_shape_of_the_reference_models(name: str, golden_dir: Path) -> None:
    checkpoint = read_big_vision(golden_dir / f"{name}.npz")
    vision, text = checkpoint.config.vision, checkpoint.config.text
    assert (text.width, text.depth, text.mlp_dim, text.num_heads) == (48, 2, 96, 4)
    assert (text.vocab_size, text.context_length) == (512, 16)
    expected = {
        "fixed_p16_r64_scan": (48, 3, 112, 4, 16, 64, 4),
        "fixed_p14_r70_widetower": (72, 2, 176, 6, 14, 70, 5),
        "naflex_p16_n64": (48, 3, 112, 4, 16, None, 16),
    }[name]
    assert expected == (
        vision.width,
        vision.depth,
        vision.mlp_dim,
        vision.num_heads,
        vision.patch_size,
        vision.image_size,
        vision.position_grid,
    )
    assert checkpoint.model_type == ("siglip2" if "naflex" in name else "siglip")


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("by_way_of_transformers", [False, True])
def test_round_trip_changes_no_bit(
    name: str, by_way_of_transformers: bool, golden_dir: Path, tmp_path: Path
) -> None:
    checkpoint = read_big_vision(golden_dir / f"{name}.npz")
    if by_way_of_transformers:
        save_checkpoint(checkpoint, tmp_path / "hf")
        checkpoint = load_checkpoint(tmp_path / "hf")
    write_big_vision(checkpoint, tmp_path)
    assert_same_arrays(stack(load(golden_dir / f"{name}.npz")), load(tmp_path / "model.npz"))
    assert_same_tensors(checkpoint, load_checkpoint(tmp_path / "model.npz"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_precisions(checkpoint: Checkpoint, dtype, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path, dtype=dtype, format="big_vision")
    assert_same_tensors(checkpoint.cast(dtype), load_checkpoint(tmp_path))
    assert load_checkpoint(tmp_path).config == checkpoint.config


def test_bfloat16_as_numpy_saves_it(golden_dir: Path, tmp_path: Path) -> None:
    """numpy knows no bfloat16 and stores two nameless bytes."""
    arrays = load(golden_dir / "naflex_p16_n64.npz")
    save(tmp_path / "x.npz", {k: v.astype(ml_dtypes.bfloat16).view("V2") for k, v in arrays.items()})
    expected = read_big_vision(golden_dir / "naflex_p16_n64.npz").cast("bfloat16")
    assert_same_tensors(read_big_vision(tmp_path / "x.npz"), expected)


def test_tree_without_prefix_compressed_or_with_optimiser_state(golden_dir: Path, tmp_path: Path) -> None:
    path = golden_dir / "fixed_p16_r64_scan.npz"
    expected, arrays = read_big_vision(path), load(path)
    save(tmp_path / "bare.npz", {k.removeprefix("params/"): v for k, v in arrays.items()})
    save(tmp_path / "small.npz", arrays, compressed=True)
    save(tmp_path / "state.npz", arrays | {"opt/0/count": np.zeros(1, np.float32)})
    for name in ("bare", "small", "state"):
        assert_same_tensors(read_big_vision(tmp_path / f"{name}.npz"), expected)


def test_arrays_stay_in_the_file(golden_dir: Path) -> None:
    checkpoint = read_big_vision(golden_dir / "fixed_p16_r64_scan.npz")
    table = checkpoint.tensors["text_model.embeddings.token_embedding.weight"].bits
    assert not table.flags.owndata
    assert not table.flags.writeable
    np.testing.assert_array_equal(
        checkpoint.rows("text_model.embeddings.token_embedding.weight", np.array([5, 1])), table[[5, 1]]
    )


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_config_of_every_released_file_is_inferred(published: PublishedCheckpoint) -> None:
    depth = {"img": published.config.vision.depth, "txt": published.config.text.depth}
    places = correspondences(published.config)
    stacked, unstacked = {}, {}
    for place in places:
        for part in place.parts:
            inner = place.shape if place.block is None else (depth[place.tower], *place.shape)
            stacked[part] = inner
            unstacked[place.array_name(part, frozenset())] = place.shape
    assert infer_config(stacked, "here") == published.config
    assert infer_config(unstacked, "here") == published.config
    for shapes in (stacked, unstacked):
        assert sum(prod(shape) for shape in shapes.values()) == published.config.num_parameters


def test_an_image_size_that_fills_no_patch_is_kept(tmp_path: Path) -> None:
    write_big_vision(random_checkpoint(ODD_SIZE), tmp_path)
    assert read_big_vision(tmp_path / "model.npz").config == ODD_SIZE
    (tmp_path / "preprocessor_config.json").unlink()
    smaller = replace(ODD_SIZE, vision=replace(ODD_SIZE.vision, image_size=12))
    assert read_big_vision(tmp_path / "model.npz").config == smaller


def test_missing_and_extra_arrays_are_listed(golden_dir: Path, tmp_path: Path) -> None:
    arrays = load(golden_dir / "fixed_p14_r70_widetower.npz")
    arrays["params/txt/haed/bias"] = arrays.pop("params/txt/head/bias")
    save(tmp_path / "x.npz", arrays)
    with pytest.raises(InvalidCheckpoint, match=r"txt/head/bias \(72,\) \(nearest: txt/haed/bias\)"):
        read_big_vision(tmp_path / "x.npz")
    del arrays["params/img/embedding/kernel"]
    save(tmp_path / "x.npz", arrays)
    with pytest.raises(InvalidCheckpoint, match="no array img/embedding/kernel"):
        read_big_vision(tmp_path / "x.npz")


def test_blocks_of_different_precision_cannot_be_stacked(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(ODD_SIZE)
    name = "text_model.encoder.layers.1.mlp.fc1.bias"
    tensors = dict(checkpoint.tensors) | {name: checkpoint.tensors[name].cast("bfloat16")}
    with pytest.raises(InvalidCheckpoint, match=r"Dense_0/bias is bfloat16 and float32"):
        write_big_vision(Checkpoint(config=ODD_SIZE, tensors=tensors), tmp_path)


def test_pickles_inside_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidCheckpoint, match="pickled objects"):
        read_npz(tmp_path / "x.npz")
    np.savez_compressed(tmp_path / "y.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidCheckpoint, match=r"y\.npz"):
        read_npz(tmp_path / "y.npz")


@pytest.mark.parametrize("kept", [0, 10, 5000, -30])
def test_truncated_files(kept: int, golden_dir: Path, tmp_path: Path) -> None:
    content = (golden_dir / "naflex_p16_n64.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[:kept])
    with pytest.raises(InvalidCheckpoint, match=r"x\.npz"):
        read_big_vision(tmp_path / "x.npz")


def test_a_zip_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("params/t.npy", b"not an array")
    with pytest.raises(InvalidCheckpoint, match=r"x\.npz"):
        read_big_vision(tmp_path / "x.npz")
