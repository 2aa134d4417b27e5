"""Our towers behind `transformers`' interface give the numbers of its own classes."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from siglip2.errors import InvalidInput
from siglip2.interop.pixel_shuffle import pixel_shuffle
from siglip2.interop.transformers import Siglip2VisionTower, SiglipVisionTower

SHAPE: Any = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, patch_size=4
)
GRIDS = torch.tensor([[3, 4], [2, 2], [2, 6]])


def perturb(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def fixed_pair(**changes):
    config = SiglipVisionConfig(**SHAPE, image_size=24, **changes)
    config._attn_implementation = "eager"  # the one that returns attention weights
    theirs, ours = perturb(SiglipVisionModel(config)), SiglipVisionTower(config).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs, {"pixel_values": torch.randn(2, 3, 24, 24)}


def naflex_pair():
    config = Siglip2VisionConfig(**SHAPE, num_patches=16)
    config._attn_implementation = "eager"  # the one that returns attention weights
    theirs, ours = perturb(Siglip2VisionModel(config)), Siglip2VisionTower(config).eval()
    ours.load_state_dict(theirs.state_dict())
    mask = (torch.arange(12)[None] < GRIDS.prod(1, keepdim=True)).long()
    pixels = torch.randn(3, 12, 48)
    return ours, theirs, {"pixel_values": pixels, "pixel_attention_mask": mask, "spatial_shapes": GRIDS}


PAIRS = pytest.mark.parametrize("pair", [fixed_pair, naflex_pair])


@PAIRS
def test_all_outputs_equal_transformers(pair):
    ours, theirs, batch = pair()
    mine = ours(**batch, output_hidden_states=True, output_attentions=True, unknown_keyword=1)
    other = theirs(**batch, output_hidden_states=True, output_attentions=True)
    real = batch.get("pixel_attention_mask", torch.ones(mine[0].shape[:2])).bool()
    assert len(mine.hidden_states) == len(other.hidden_states) == 4
    for a, b in zip(mine.hidden_states, other.hidden_states, strict=True):
        torch.testing.assert_close(a[real], b[real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine[0][real], other[0][real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine.pooler_output, other.pooler_output, atol=1e-5, rtol=1e-5)
    for a, b in zip(mine.attentions, other.attentions, strict=True):
        torch.testing.assert_close(a.transpose(1, 2)[real], b.transpose(1, 2)[real], atol=1e-5, rtol=1e-5)


@PAIRS
def test_folders_load_in_both_directions(pair, tmp_path, request):
    ours, theirs, batch = pair()
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    without = AutoModel.from_pretrained(tmp_path / "ours").eval()
    assert type(without) is type(theirs)
    request.getfixturevalue("registered")
    with_us = AutoModel.from_pretrained(tmp_path / "theirs").eval()
    assert type(with_us) is type(ours)
    expected = ours(**batch).pooler_output
    for model in (without, with_us):
        torch.testing.assert_close(model(**batch).pooler_output, expected, atol=1e-5, rtol=1e-5)


@PAIRS
def test_without_its_last_layer_the_tower_ends_one_state_earlier(pair):
    ours, _, batch = pair()
    full = ours(**batch, output_hidden_states=True).hidden_states
    del ours.vision_model.encoder.layers[-1:]
    shorter = ours(**batch, output_hidden_states=True).hidden_states
    assert len(shorter) == len(full) - 1
    assert torch.equal(shorter[-1], full[-2])


@PAIRS
def test_gradient_checkpointing_gives_the_same_gradients(pair):
    ours, _, batch = pair()
    gradients = []
    for enabled in (False, True):
        if enabled:
            getattr(ours, "activation_checkpointing_enable", ours.gradient_checkpointing_enable)()
            assert ours.encoder.gradient_checkpointing
        ours.zero_grad()
        ours.train()(**batch).pooler_output.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in ours.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_padding_changes_nothing_and_nothing_but_padding_is_not_nan():
    ours, _, batch = naflex_pair()
    padded = ours(**batch)
    for index, (height, width) in enumerate(GRIDS.tolist()):
        count = height * width
        alone = ours(batch["pixel_values"][index : index + 1, :count], None, GRIDS[index : index + 1])
        torch.testing.assert_close(alone[0][0], padded[0][index, :count], atol=1e-5, rtol=1e-5)
    assert ours(**batch | {"pixel_attention_mask": torch.zeros(3, 12)})[0].isfinite().all()


def test_other_resolutions_on_request_only():
    ours, theirs, _ = fixed_pair()
    pixels = torch.randn(1, 3, 32, 16)
    with pytest.raises(InvalidInput, match="interpolate_pos_encoding"):
        ours(pixels)
    mine, other = (model(pixels, interpolate_pos_encoding=True)[0] for model in (ours, theirs))
    torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_no_head_and_tuples():
    ours, _, batch = fixed_pair(vision_use_head=False)
    assert ours(**batch).pooler_output is None
    assert torch.equal(ours(**batch, return_dict=False)[0], ours(**batch)[0])


def test_pixel_shuffle_joins_neighbours_and_refuses_what_it_would_scramble():
    features = torch.arange(16.0).view(1, 16, 1)
    joined = pixel_shuffle(features, (4, 4), 2)
    assert joined[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert pixel_shuffle(features, (2, 8), 2, require_square=False).shape == (1, 4, 4)
    with pytest.raises(InvalidInput, match="not square"):
        pixel_shuffle(features, (2, 8), 2)
    with pytest.raises(InvalidInput, match="multiples of 3"):
        pixel_shuffle(features, (4, 4), 3)
    with pytest.raises(InvalidInput, match="has 12 patches, not 16"):
        pixel_shuffle(features, (3, 4), 1)
