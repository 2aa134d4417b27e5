"""What the torch runtime alone does; test_golden.py holds it to the reference."""

import numpy as np
import pytest
from openvino_models import assert_close
from test_golden import GOLDEN, read_images, unit

from siglip2.errors import InvalidInput
from siglip2.inputs.batch import ImageBatch
from siglip2.runtime.torch import TorchRuntime
from siglip2.weights.big_vision import read_big_vision


def test_raw_pixels_are_normalised(golden_dir):
    runtime = TorchRuntime(read_big_vision(golden_dir / f"{GOLDEN[0]}.npz"), device="cpu")
    raw = np.random.default_rng(0).integers(0, 256, (2, 16, 768), dtype=np.uint8)
    grids = np.full((2, 2), 4, np.int32)
    raw_pooled, float_pooled = (
        runtime.encode_images(ImageBatch(patches=patches, grids=grids)).pooled
        for patches in (raw, (raw / 127.5 - 1).astype(np.float32))
    )
    assert_close(raw_pooled, float_pooled)


def test_what_cannot_run_is_refused(golden_dir):
    checkpoint = read_big_vision(golden_dir / f"{GOLDEN[0]}.npz")
    with pytest.raises(InvalidInput, match="openvino for int8"):
        TorchRuntime(checkpoint, precision="int8", device="cpu")
    for unknown in ("gpu0", "CPU", "cuda:x"):
        with pytest.raises(InvalidInput, match=f"no device '{unknown}': name cpu, cuda, cuda:1 or mps"):
            TorchRuntime(checkpoint, device=unknown)
    for elsewhere in ("cuda:99", "xpu:99", "meta"):
        with pytest.raises(InvalidInput, match=f"device {elsewhere} was asked for, but torch sees"):
            TorchRuntime(checkpoint, device=elsewhere)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_released_text_tower_comes_back(golden_dir, precision):
    runtime = TorchRuntime(
        read_big_vision(golden_dir / f"{GOLDEN[0]}.npz"), precision=precision, device="cpu"
    )
    ids = np.load(golden_dir / f"{GOLDEN[0]}_io.npz")["text"]
    before = runtime.encode_texts(ids)
    held = sum(parameter.numel() for parameter in runtime.model.text_model.parameters())
    runtime.release_text_tower()
    runtime.release_text_tower()  # a second time is no harm
    parameters = list(runtime.model.text_model.parameters())
    assert all(parameter.is_meta for parameter in parameters)
    assert not any(parameter.is_meta for parameter in runtime.model.vision_model.parameters())
    runtime.prepare_text_tower()
    assert not any(parameter.is_meta for parameter in runtime.model.text_model.parameters())
    runtime.release_text_tower()
    np.testing.assert_array_equal(runtime.encode_texts(ids), before)
    back = list(runtime.model.text_model.parameters())
    assert sum(parameter.numel() for parameter in back) == held
    assert not any(parameter.requires_grad for parameter in back)


@pytest.mark.parametrize("name", GOLDEN)
def test_bfloat16_stays_close(golden_dir, name):
    checkpoint = read_big_vision(golden_dir / f"{name}.npz")
    io = np.load(golden_dir / f"{name}_io.npz")
    runtime = TorchRuntime(checkpoint, precision="bfloat16", device="cpu")
    images = unit(runtime.encode_images(read_images(io, checkpoint.config.vision.patch_size)).pooled)
    texts = unit(runtime.encode_texts(io["text"]))
    assert (images * io["image_embeddings"]).sum(axis=1).min() > 0.9995
    assert (texts * io["text_embeddings"]).sum(axis=1).min() > 0.9995
