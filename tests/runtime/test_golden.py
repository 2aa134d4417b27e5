"""Both runtimes against numbers of the reference implementation."""

from pathlib import Path

import numpy as np
import pytest
from openvino_models import assert_close

from siglip2.inputs.batch import ImageBatch
from siglip2.inputs.patches import patchify
from siglip2.runtime.openvino import OpenVinoRuntime
from siglip2.runtime.torch import TorchRuntime
from siglip2.weights.big_vision import read_big_vision


def read_images(io, patch_size: int) -> ImageBatch:
    if "pixels" in io:
        patches = np.stack([patchify(image, patch_size) for image in io["pixels"]])
        side = io["pixels"].shape[1] // patch_size
        return ImageBatch(patches=patches, grids=np.full((len(patches), 2), side, np.int32))
    grids = np.stack([io["yidx"].max(axis=1) + 1, io["xidx"].max(axis=1) + 1], axis=1)
    return ImageBatch(patches=io["patches"], grids=grids.astype(np.int32), mask=io["patch_type"] == 1)


def unit(features: np.ndarray) -> np.ndarray:
    return features / (np.linalg.norm(features, axis=-1, keepdims=True) + 1e-8)


GOLDEN = ["fixed_p16_r64_scan", "fixed_p14_r70_widetower", "naflex_p16_n64"]
RUNTIMES = {"openvino": OpenVinoRuntime, "torch": TorchRuntime}


@pytest.mark.parametrize("runtime_name", RUNTIMES)
@pytest.mark.parametrize("name", GOLDEN)
def test_the_reference_implementation(golden_dir: Path, name: str, runtime_name: str) -> None:
    checkpoint = read_big_vision(golden_dir / f"{name}.npz")
    io = np.load(golden_dir / f"{name}_io.npz")
    runtime = RUNTIMES[runtime_name](checkpoint, precision="float32")
    batch = read_images(io, checkpoint.config.vision.patch_size)

    features = runtime.encode_images(batch, return_patches=True)
    images, texts = unit(features.pooled), unit(runtime.encode_texts(io["text"]))
    logits = np.exp(checkpoint.read("logit_scale")) * images @ texts.T + checkpoint.read("logit_bias")

    real = np.ones(batch.patches.shape[:2], bool) if batch.mask is None else batch.mask
    assert features.patches is not None
    assert_close(features.patches[real], io["patch_features"][real])
    assert_close(features.pooled, io["image_pooled_unnormalised"])
    assert_close(images, io["image_embeddings"])
    assert_close(texts, io["text_embeddings"])
    assert_close(logits, io["logits"])
