"""The OpenVINO towers against `transformers`, in every shape family."""

from pathlib import Path

import numpy as np
import pytest
import torch
from openvino_models import (
    FIXED,
    NAFLEX,
    assert_close,
    cosines,
    needs_bfloat16,
    random_ids,
    random_images,
    random_naflex,
    saved_checkpoint,
)
from transformers import AutoModel

from siglip2.config import ModelConfig, published_config
from siglip2.inputs.batch import ImageBatch
from siglip2.runtime.openvino import OpenVinoRuntime

# No grid one patch wide: there torch's anti-aliased interpolation, and so `transformers`, is wrong (see
# test_openvino.test_positions_one_patch_wide).
MIXED_GRIDS = [(4, 4), (2, 9), (7, 3), (1, 20), (12, 2)]


def to_pixels(batch: ImageBatch, config: ModelConfig) -> torch.Tensor:
    """Undo the patches; where pixels are left over at the right and below they are noise nobody may see."""
    vision = config.vision
    grid, size = vision.position_grid, vision.patch_size
    assert vision.image_size is not None
    image = batch.patches.reshape(len(batch), grid, grid, size, size, 3).swapaxes(2, 3)
    pixels = np.full((len(batch), vision.image_size, vision.image_size, 3), 0.5, np.float32)
    pixels[:, : grid * size, : grid * size] = image.reshape(len(batch), grid * size, grid * size, 3)
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())


def theirs(folder: Path, batch: ImageBatch, ids: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, ...]:
    model = AutoModel.from_pretrained(folder).eval()
    if config.vision.naflex:
        assert batch.mask is not None
        images = {
            "pixel_values": torch.from_numpy(batch.patches),
            "pixel_attention_mask": torch.from_numpy(batch.mask.astype(np.int64)),
            "spatial_shapes": torch.from_numpy(batch.grids.astype(np.int64)),
        }
    else:
        images = {"pixel_values": to_pixels(batch, config)}
    with torch.inference_mode():
        vision = model.get_image_features(**images)
        text = model.get_text_features(input_ids=torch.from_numpy(ids))
    return vision.last_hidden_state.numpy(), vision.pooler_output.numpy(), text.pooler_output.numpy()


def compare(config: ModelConfig, batch: ImageBatch, folder: Path) -> None:
    runtime = OpenVinoRuntime(saved_checkpoint(config, folder), precision="float32")
    ids = random_ids(config, 3)
    patches, pooled, texts = theirs(folder, batch, ids, config)
    features = runtime.encode_images(batch, return_patches=True)
    real = np.ones(batch.patches.shape[:2], bool) if batch.mask is None else batch.mask
    assert features.patches is not None
    assert_close(features.patches[real], patches[real])
    assert_close(features.pooled, pooled)
    assert_close(runtime.encode_texts(ids), texts)


@pytest.mark.parametrize("name", FIXED)
def test_fixed_resolution(name: str, tmp_path: Path) -> None:
    compare(FIXED[name], random_images(FIXED[name], 3), tmp_path)


@pytest.mark.parametrize("name", NAFLEX)
def test_naflex_with_mixed_aspect_ratios(name: str, tmp_path: Path) -> None:
    compare(NAFLEX[name], random_naflex(NAFLEX[name], MIXED_GRIDS, 24), tmp_path)


@needs_bfloat16
@pytest.mark.parametrize("config", [FIXED["head width 72"], NAFLEX["head width 72"]], ids=["fixed", "naflex"])
def test_bfloat16(config: ModelConfig, tmp_path: Path) -> None:
    batch = random_naflex(config, MIXED_GRIDS, 24) if config.vision.naflex else random_images(config, 3)
    runtime = OpenVinoRuntime(saved_checkpoint(config, tmp_path), precision="bfloat16")
    ids = random_ids(config, 3)
    patches, pooled, texts = theirs(tmp_path, batch, ids, config)
    images = runtime.encode_images(batch, return_patches=True)
    assert images.patches is not None
    real = np.ones(patches.shape[:2], bool) if batch.mask is None else batch.mask
    for ours, exact in (
        (images.pooled, pooled),
        (images.patches[real], patches[real]),
        (runtime.encode_texts(ids), texts),
    ):
        assert cosines(ours, exact).min() > 0.9995


@pytest.mark.slow
def test_the_full_shape_of_base_patch16_256(tmp_path: Path) -> None:
    config = published_config("base", 16, 256)
    compare(config, random_images(config, 2), tmp_path)
