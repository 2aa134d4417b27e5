"""Sampling, optimiser groups, schedule and Muon, each alone."""

import dataclasses

import numpy as np
import pytest
import torch

from siglip2.data.captioned import CaptionedImages
from siglip2.network.init import build_initialised
from siglip2.recipes.recipe import Schedule, Source
from siglip2.train.muon import Muon, orthogonalise
from siglip2.train.optimizer import build_optimizers, kernel_names, schedule_factor
from siglip2.train.sampling import draw_batch


def test_every_image_is_seen_once_an_epoch(tiny_recipe, tiny_data):
    source = dataclasses.replace(tiny_recipe.sources[1], images_per_batch=11)
    for step in range(3):
        batch = draw_batch([source], tiny_data[1:], seed=0, step=step)
        assert sorted(batch.texts) == sorted(f"own {index}" for index in range(11))
    first, second = (draw_batch([source], tiny_data[1:], seed=0, step=step).texts for step in (0, 1))
    assert first != second


def test_images_of_one_class_share_a_text_and_others_do_not(tiny_recipe, tiny_data):
    batch = draw_batch(tiny_recipe.sources, tiny_data, seed=0, step=0)
    assert len(batch.text_of_image) == 17
    assert len(set(batch.text_of_image[:12])) <= 4
    assert len(set(batch.text_of_image[12:])) == 5
    assert len(batch.texts) == batch.text_of_image.max() + 1


def test_a_picture_that_comes_twice_and_equal_captions_are_no_negatives():
    """Six pictures in a batch of 32, and two of them with the same words."""
    captions = [[f"{index} once", f"{index} again"] for index in range(4)] + [["alike"], ["alike"]]
    data = CaptionedImages(
        name="few",
        images=np.zeros((6, 4, 4, 3), np.uint8),
        captions=captions,
        classes=np.full(6, -1),
    )
    batch = draw_batch([Source(name="few", images_per_batch=32)], [data], seed=0, step=0)
    assert len(batch.texts) == len(set(batch.texts)) == 5
    for row, number in zip(batch.rows[0].tolist(), batch.text_of_image.tolist(), strict=True):
        assert batch.texts[number] in captions[row]
    own = [set(batch.text_of_image[batch.rows[0] == row].tolist()) for row in range(6)]
    assert all(len(numbers) == 1 for numbers in own)
    assert own[4] == own[5]


def test_only_kernels_decay(tiny_recipe):
    model = build_initialised(tiny_recipe.model)
    kernels = kernel_names(model)
    decayed = {
        id(parameter)
        for optimizer in build_optimizers(model, tiny_recipe.optimizer)
        for group in optimizer.param_groups
        if group["weight_decay"]
        for parameter in group["params"]
    }
    named = dict(model.named_parameters())
    assert decayed == {id(named[name]) for name in kernels}
    assert {"vision_model.embeddings.patch_embedding.weight", "text_model.head.weight"} <= kernels
    for name in named:
        if name.endswith(("bias", "probe", "position_embedding.weight", "token_embedding.weight")):
            assert name not in kernels
        if "norm" in name or name.startswith("logit"):
            assert name not in kernels


def test_every_parameter_has_exactly_one_optimizer(tiny_recipe):
    model = build_initialised(tiny_recipe.model)
    owned = [
        id(parameter)
        for optimizer in build_optimizers(model, tiny_recipe.optimizer)
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(owned) == sorted(id(parameter) for parameter in model.parameters())


def test_schedule_warms_up_and_ends_at_zero():
    schedule = Schedule(num_steps=100, warmup_steps=10)
    assert schedule_factor(schedule, 0) == pytest.approx(0.1)
    assert schedule_factor(schedule, 9) == pytest.approx(1.0)
    assert schedule_factor(schedule, 55) == pytest.approx(0.5)
    assert schedule_factor(schedule, 100) == pytest.approx(0.0)


@pytest.mark.parametrize("shape", [(6, 6), (4, 12), (12, 4)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    generator = torch.Generator().manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(3, *shape, generator=generator), steps=8))
    assert values.min() > 0.6
    assert values.max() < 1.4


def test_muon_minimises_a_quadratic():
    target = torch.linspace(-1, 1, 24).reshape(4, 6)
    weight = torch.nn.Parameter(torch.zeros(4, 6))
    optimizer = Muon([weight], lr=0.02)
    for _ in range(500):
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    np.testing.assert_allclose(weight.detach(), target, atol=0.05)
