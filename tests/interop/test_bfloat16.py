"""In bfloat16 the towers stay within a cosine of 0.9995 of float32: behind `transformers`, in OpenVINO."""

import numpy as np
import pytest
import torch
from tests.runtime.openvino_models import needs_bfloat16
from tests.tiny_model import random_photo

import siglip2
from siglip2.interop.two_towers import SiglipTwoTowers
from siglip2.weights.load import save_checkpoint

TEXTS = ["a dog", "two dogs on a beach", "海边的两只狗", ""]
LEAST = 0.9995


@pytest.fixture(scope="module")
def exact():
    """Nano in float32, photographs at its own size, and their unit vectors."""
    encoder = siglip2.load("nano", precision="float32")
    side = encoder.checkpoint.config.vision.image_size
    assert side is not None
    photos = [random_photo(seed, side, side) for seed in range(8)]
    return encoder, photos, encoder.embed_images(photos), encoder.embed_texts(TEXTS)


def least_cosine(ours: np.ndarray, unit: np.ndarray) -> float:
    return float(((ours * unit).sum(1) / np.linalg.norm(ours, axis=1)).min())


@torch.no_grad()
def test_behind_transformers(exact, tmp_path):
    encoder, photos, images, texts = exact
    save_checkpoint(encoder.checkpoint, tmp_path)
    model = SiglipTwoTowers.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    pixels = torch.from_numpy(np.stack(photos).transpose(0, 3, 1, 2)) / 127.5 - 1
    found = model(torch.from_numpy(encoder.tokenize(TEXTS)).long(), pixels.bfloat16())
    assert found.vision_model_output.last_hidden_state.dtype == torch.bfloat16
    assert least_cosine(found.image_embeds.float().numpy(), images) > LEAST
    assert least_cosine(found.text_embeds.float().numpy(), texts) > LEAST


@needs_bfloat16
def test_in_openvino(exact):
    _, photos, images, texts = exact
    encoder = siglip2.load("nano", precision="bfloat16", runtime="openvino")
    assert least_cosine(encoder.embed_images(photos), images) > LEAST
    assert least_cosine(encoder.embed_texts(TEXTS), texts) > LEAST
