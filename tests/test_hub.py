"""Published checkpoints, for machines that reach the Hugging Face hub.

    SIGLIP2_HUB_TESTS=1 pytest tests/test_hub.py

The logits are those that `transformers` holds for its conversion of the two NaFlex checkpoints
(`convert_siglip2_to_hf.py`, commit f9dc3e13), at 256 patches, to 1e-3 in float32.
"""

import os

import numpy as np
import pytest
from PIL import Image, ImageDraw

import siglip2

pytestmark = [
    pytest.mark.hub,
    pytest.mark.skipif(
        not os.environ.get("SIGLIP2_HUB_TESTS"),
        reason="needs a connection to the Hugging Face hub: SIGLIP2_HUB_TESTS=1 pytest tests/test_hub.py",
    ),
]

TEXTS = [
    "circle",
    "ellipsoid",
    "blue circle on red background",
    "blue circle with green border on red background",
    "green circle on red background",
    "a dog",
    "a blue dog with a green border on a red background",
]
SIZES = [(224, 224), (1024, 1024), (1024, 224)]
LOGITS = {
    "google/siglip2-base-patch16-naflex": [
        [1.0195, -0.0280, -1.4468],
        [-4.5395, -6.2269, -1.5667],
        [4.1757, 5.0358, 3.5159],
        [9.4264, 10.1879, 6.3353],
        [2.4409, 3.1058, 4.5491],
        [-12.3230, -13.7355, -13.4632],
        [1.1520, 1.1687, -1.9647],
    ],
    "google/siglip2-so400m-patch16-naflex": [
        [0.9422, 0.5540, -2.4405],
        [-7.3522, -9.4931, -6.3499],
        [5.7852, 6.7288, 7.7893],
        [9.9881, 10.8136, 9.2121],
        [5.3660, 5.7746, 8.4130],
        [-12.7218, -14.2631, -13.6442],
        [0.6384, 0.4278, -0.9022],
    ],
}


def drawn_ellipse(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "red")
    radius = min(width, height) // 2 // 8 * 7
    box = (width // 2 - radius, height // 2 - radius, width // 2 + radius, height // 2 + radius)
    ImageDraw.Draw(image).ellipse(box, fill="blue", outline="green", width=width // 20)
    return image


@pytest.mark.parametrize("model", LOGITS)
def test_logits_of_a_drawn_ellipse(model):
    encoder = siglip2.load(model, precision="float32")
    scores = encoder.score([drawn_ellipse(*size) for size in SIZES], TEXTS)
    np.testing.assert_allclose(scores.logit.T, LOGITS[model], atol=1e-2)


def test_scale_and_bias_of_so400m():
    encoder = siglip2.load("google/siglip2-so400m-patch16-256")
    assert encoder.logit_scale == pytest.approx(109.9, abs=0.1)
    assert encoder.logit_bias == pytest.approx(-15.9, abs=0.1)
