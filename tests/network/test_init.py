"""Fresh weights: nothing left uninitialised, and the spread that big_vision gives."""

import math

import pytest
import torch
from torch import nn

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.network.init import build, build_initialised, init_weights
from siglip2.weights.shapes import expected_shapes

CONFIG = ModelConfig(
    vision=VisionConfig(
        width=144, depth=2, mlp_dim=269, num_heads=2, patch_size=8, image_size=32, position_grid=4
    ),
    text=TextConfig(width=96, depth=2, mlp_dim=200, num_heads=3, vocab_size=500, context_length=16),
)


def test_no_tensor_is_left_as_nan():
    model = build(CONFIG)
    assert all(tensor.isnan().all() for tensor in model.state_dict().values())
    init_weights(model, torch.Generator().manual_seed(0))
    assert not any(tensor.isnan().any() for tensor in model.state_dict().values())


def test_a_forgotten_tensor_is_named(monkeypatch):
    monkeypatch.setattr("siglip2.network.init._lecun", lambda *_: None)
    with pytest.raises(RuntimeError, match=r"patch_embedding\.weight.*text_model\.head\.weight"):
        build_initialised(CONFIG)


def test_state_dict_is_the_canonical_tensor_dictionary():
    state = build(CONFIG).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected_shapes(CONFIG)
    assert sum(tensor.numel() for tensor in state.values()) == CONFIG.num_parameters


def test_spread_of_every_kind_of_weight():
    model = build_initialised(CONFIG).requires_grad_(False)
    vision, width = model.vision_model, CONFIG.vision.width
    xavier = math.sqrt(6 / (2 * width))
    for weight in (
        vision.get_parameter("encoder.layers.0.self_attn.q_proj.weight"),
        *vision.get_parameter("head.attention.in_proj_weight").chunk(3),
    ):
        assert weight.abs().max() == pytest.approx(xavier, rel=0.01)
    assert vision.head.probe.abs().max() <= math.sqrt(6 / (1 + width))
    assert vision.head.probe.std() == pytest.approx(math.sqrt(2 / (1 + width)), rel=0.2)
    patch = vision.embeddings.patch_embedding
    assert patch.weight.std() == pytest.approx(patch.in_features**-0.5, rel=0.05)
    table = model.text_model.embeddings.token_embedding.weight
    assert table.std() == pytest.approx(table.shape[1] ** -0.5, rel=0.05)
    assert model.logit_scale.item() == pytest.approx(math.log(10))
    assert model.logit_bias.item() == -10
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (build_initialised(CONFIG, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["text_model.head.weight"], other["text_model.head.weight"])
