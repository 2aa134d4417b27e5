"""Parameter counts of the released models, and messages about tensors that do not fit."""

from math import prod

import numpy as np
import pytest
from random_models import FIXED, random_checkpoint

from siglip2.config import PUBLISHED, PublishedCheckpoint
from siglip2.errors import InvalidCheckpoint
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.shapes import expected_shapes
from siglip2.weights.tensor import StoredTensor

# Image tower, text tower, both with scale and bias.
COUNTS = {
    "base-patch32-256": (94_552_320, 282_303_744, 376_856_066),
    "base-patch16-224": (92_884_224, 282_303_744, 375_187_970),
    "base-patch16-256": (92_930_304, 282_303_744, 375_234_050),
    "base-patch16-384": (93_176_064, 282_303_744, 375_479_810),
    "base-patch16-512": (93_520_128, 282_303_744, 375_823_874),
    "base-patch16-naflex": (92_930_304, 282_303_744, 375_234_050),
    "large-patch16-256": (315_956_224, 565_570_560, 881_526_786),
    "large-patch16-384": (316_283_904, 565_570_560, 881_854_466),
    "large-patch16-512": (316_742_656, 565_570_560, 882_313_218),
    "so400m-patch14-224": (427_680_704, 707_782_896, 1_135_463_602),
    "so400m-patch14-384": (428_225_600, 707_782_896, 1_136_008_498),
    "so400m-patch16-256": (427_888_064, 707_782_896, 1_135_670_962),
    "so400m-patch16-384": (428_256_704, 707_782_896, 1_136_039_602),
    "so400m-patch16-512": (428_772_800, 707_782_896, 1_136_555_698),
    "so400m-patch16-naflex": (427_888_064, 707_782_896, 1_135_670_962),
    "giant-opt-patch16-256": (1_163_168_256, 708_225_648, 1_871_393_906),
    "giant-opt-patch16-384": (1_163_659_776, 708_225_648, 1_871_885_426),
}


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_parameter_counts(published: PublishedCheckpoint) -> None:
    sizes = {name: prod(shape) for name, shape in expected_shapes(published.config).items()}
    vision = sum(size for name, size in sizes.items() if name.startswith("vision_model."))
    text = sum(size for name, size in sizes.items() if name.startswith("text_model."))
    assert (vision, text, sum(sizes.values())) == COUNTS[published.name]
    assert published.config.num_parameters == sum(sizes.values())


def test_every_released_model_is_counted() -> None:
    assert [published.name for published in PUBLISHED] == list(COUNTS)


def test_missing_extra_and_wrong_tensors_are_listed_with_the_nearest_names() -> None:
    tensors = dict(random_checkpoint(FIXED).tensors)
    tensors["text_model.head.wieght"] = tensors.pop("text_model.head.weight")
    tensors["logit_bias"] = StoredTensor.of(np.zeros(2, np.float32))
    with pytest.raises(InvalidCheckpoint) as caught:
        Checkpoint(config=FIXED, tensors=tensors, source="here")
    message = str(caught.value)
    assert message.startswith("here ")
    assert "missing: 1\n  text_model.head.weight (24, 16) (nearest: text_model.head.wieght)" in message
    assert "not part of the model: 1\n  text_model.head.wieght (24, 16)" in message
    assert "wrong shape: 1\n  logit_bias (2,), expected (1,)" in message


def test_long_lists_are_cut() -> None:
    with pytest.raises(InvalidCheckpoint, match=rf"and {len(expected_shapes(FIXED)) - 12} more"):
        Checkpoint(config=FIXED, tensors={})
