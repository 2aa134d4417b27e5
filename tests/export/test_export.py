"""Exported models give the numbers of the source, in the runtimes that they are for."""

import json

import numpy as np
import pytest
import torch
from tests.tiny_model import random_photo, tiny_checkpoint

import siglip2
from siglip2.errors import InvalidInput
from siglip2.export import files
from siglip2.export.files import TOLERANCE, ExportFailed, export
from siglip2.export.graphs import positions_in_graph
from siglip2.network.positions import grid_positions
from siglip2.runtime.torch import load_model
from siglip2.weights.load import load_checkpoint


def test_positions_in_the_graph_equal_the_resized_table():
    """Any grid up to 64 a side: wide, high, single rows, larger and smaller than the table."""
    config = siglip2.load("nano", precision="float32").checkpoint.config.vision
    side = config.position_grid
    table = torch.randn(side**2, 8)
    grids = torch.tensor([[4, 4], [8, 8], [1, 9], [9, 1], [2, 3], [7, 5], [3, 20], [1, 1], [12, 12], [64, 2]])
    most = int(grids.prod(1).max())
    ours = positions_in_graph(table, config, grids, most)
    theirs = grid_positions(table.unflatten(0, (side, side)), grids, most)
    for index, (height, width) in enumerate(grids.tolist()):
        count = height * width
        assert torch.allclose(ours[index, :count], theirs[index, :count], atol=1e-5), (height, width)


def session(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_nano_in_onnx_runtime_from_pixels_and_ids(nano_onnx):
    folder, printed = nano_onnx
    assert [row["file"].rsplit("/", 1)[-1] for row in printed[:4]] == [
        "vision.onnx", "vision.int8.onnx", "text.onnx", "text.int8.onnx"
    ]  # fmt: skip
    assert max(printed[4]["differences"].values()) < TOLERANCE
    assert printed[1]["bytes"] < 0.5 * printed[0]["bytes"]
    assert (folder / "tokenizer.json").exists()
    assert json.loads((folder / "preprocessor_config.json").read_text())["image_mean"] == [0.5, 0.5, 0.5]
    encoder = siglip2.load("nano", precision="float32")
    facts = json.loads((folder / "siglip2.json").read_text())
    assert facts["logit_scale"] == pytest.approx(encoder.logit_scale)
    assert facts["logit_bias"] == pytest.approx(encoder.logit_bias)
    side = encoder.checkpoint.config.vision.image_size
    assert side is not None
    photos = [random_photo(seed, side, side) for seed in range(5)]
    pixels = np.stack(photos).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    images = session(folder / "vision.onnx").run(["image_embeds"], {"pixel_values": pixels})[0]
    assert images == pytest.approx(encoder.embed_images(photos), abs=1e-4)
    texts = ["a goldfish", "two dogs on a beach"]
    ids = encoder.tokenize(texts).astype(np.int64)
    found = session(folder / "text.onnx").run(None, {"input_ids": ids})[0]
    assert found == pytest.approx(encoder.embed_texts(texts), abs=1e-4)


def test_naflex_in_onnx_runtime_with_mixed_grids(naflex_onnx):
    encoder, folder = naflex_onnx
    photos = [random_photo(1, 40, 52), random_photo(2, 90, 20), random_photo(3, 16, 90)]
    prepared = [encoder.image_preprocessor.prepare_one(photo) for photo in photos]
    batch = encoder.image_preprocessor.batch(prepared)
    patches = (
        batch.patches.astype(np.float32) / 127.5 - 1 if batch.patches.dtype == np.uint8 else batch.patches
    )
    mask = np.ones(patches.shape[:2]) if batch.mask is None else batch.mask
    inputs = {
        "pixel_values": patches,
        "pixel_attention_mask": mask.astype(np.int64),
        "spatial_shapes": batch.grids.astype(np.int64),
    }
    found = session(folder / "vision.onnx").run(["image_embeds"], inputs)[0]
    assert found == pytest.approx(encoder.embed_images(photos), abs=1e-4)


@pytest.mark.parametrize("naflex", [False, True], ids=["fixed", "naflex"])
@pytest.mark.parametrize("to", ["openvino", "torch-export"])
def test_other_formats_are_checked_as_they_are_written(tmp_path, to, naflex):
    found = export(tiny_checkpoint(tmp_path, naflex=naflex), tmp_path / "out", to)
    assert set(found.differences) == {"vision", "text"}
    assert max(found.differences.values()) < TOLERANCE
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_transformers_format_is_a_folder_that_loads(tmp_path):
    source = load_checkpoint("nano")
    assert export(source, tmp_path, "transformers").differences == {"vision": 0, "text": 0}
    again = siglip2.load(str(tmp_path), precision="float32")
    texts = ["A Goldfish", "ÉCOLE"]
    assert again.embed_texts(texts) == pytest.approx(
        siglip2.load("nano", precision="float32").embed_texts(texts), abs=1e-6
    )


def test_a_folder_with_other_weights_is_an_error(tmp_path, monkeypatch):
    checkpoint, other = tiny_checkpoint(tmp_path), tiny_checkpoint(tmp_path, seed=1)
    write = files.write_hf
    monkeypatch.setattr(files, "write_hf", lambda _, folder: write(other, folder))
    with pytest.raises(ExportFailed, match="other weights than the source in"):
        export(checkpoint, tmp_path / "out", "safetensors")


@pytest.mark.parametrize(("factor", "said"), [(1.01, r"1\.0e-02"), (float("nan"), "nan")])
def test_a_file_with_other_numbers_is_an_error(tmp_path, monkeypatch, factor, said):
    monkeypatch.setitem(
        files._WRITERS,
        "torch-export",
        lambda tower, folder: (
            folder / "vision.pt2",
            lambda inputs: [
                factor * each.numpy()
                for each in tower.module(**{name: torch.from_numpy(value) for name, value in inputs.items()})
            ],
        ),
    )
    with pytest.raises(ExportFailed, match=rf"vision\.pt2 differs from the source by {said}"):
        export(tiny_checkpoint(tmp_path), tmp_path / "out", "torch-export")


def test_int8_is_for_onnx(tmp_path):
    with pytest.raises(InvalidInput, match="int8 is written for onnx"):
        export(tiny_checkpoint(tmp_path), tmp_path / "out", "openvino", int8=True)


def test_the_tower_of_the_graph_is_the_tower():
    checkpoint = load_checkpoint("nano")
    assert (
        sum(each.numel() for each in load_model(checkpoint).parameters()) == checkpoint.config.num_parameters
    )
