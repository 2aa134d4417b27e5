"""Parts of a batch give the gradients of the whole: of both towers, scale and bias, with dropout too."""

import dataclasses

import pytest
import torch
from tests.train.test_stages import losses, staged, with_regions
from torch import nn

from siglip2.recipes.recipe import Schedule
from siglip2.train.batches import make_views
from siglip2.train.cached_pairs import backward_in_parts
from siglip2.train.loop import train
from siglip2.train.objective import Objective, stage_config
from siglip2.train.parallel import Ranks
from siglip2.train.sampling import draw_batch
from siglip2.train.split import split_views

__all__ = ["staged", "with_regions"]


@pytest.fixture
def prepared(staged, with_regions, tokenize):
    """An objective in its richest stage, and a batch."""
    objective = Objective(staged)
    average = {name: value.clone() for name, value in objective.model.state_dict().items()}
    for index in range(2):
        objective.enter(index, average)
    batch = draw_batch(staged.sources, with_regions, seed=0, step=0)
    generator = torch.Generator().manual_seed(0)
    arguments = (staged, staged.stages[1], stage_config(staged, 1), tokenize, generator, "cpu")
    return objective.double(), in_double(make_views(batch, *arguments))


def in_double(views):
    names = ("patches", "global_view", "local_views")
    return dataclasses.replace(views, **{name: getattr(views, name).double() for name in names})


def gradients(objective):
    found = {name: each.grad for name, each in objective.named_parameters() if each.grad is not None}
    objective.zero_grad()
    return found


@pytest.mark.parametrize("number", [1, 2, 4, 20])
def test_gradients_of_parts_add_up_to_those_of_the_whole(prepared, number):
    objective, views = prepared
    parts = objective(views)
    torch.stack(list(parts.values())).sum().backward()
    expected = gradients(objective)
    found = backward_in_parts(objective, views, number, Ranks(), objective.current.losses)
    ours = gradients(objective)
    assert {"model.logit_scale", "model.logit_bias"} <= ours.keys()
    for name, value in parts.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-6)
    for name, value in expected.items():
        # The losses of views add up in float32, in as many parts.
        close = 1e-7 if number <= 4 else 1e-6 * max(1.0, value.abs().max().item())
        torch.testing.assert_close(ours[name], value, msg=name, atol=close, rtol=1e-5)


def test_gradients_of_scale_and_bias_are_missed_by_plain_accumulation(prepared):
    """What is wrong with adding up the losses of parts: pairs across parts are never seen."""
    objective, views = prepared
    objective(views)["sigmoid"].backward()
    whole = gradients(objective)["model.logit_bias"]
    for part in split_views(views, 2):
        (objective(part)["sigmoid"] / 2).backward()
    assert not torch.allclose(gradients(objective)["model.logit_bias"], whole, rtol=0.1)


def test_dropout_draws_the_same_in_both_passes(prepared):
    """With dropout in the towers, the parts' second pass must see the first one's masks."""
    objective, views = prepared
    objective.model.vision_model.post_layernorm = nn.Sequential(
        objective.model.vision_model.post_layernorm, nn.Dropout(0.5)
    )
    objective.train()
    torch.manual_seed(7)
    embedded = [objective(part, "embed")[0] for part in split_views(views, 2)]
    torch.manual_seed(7)
    seen = []
    hook = objective.model.vision_model.register_forward_hook(
        lambda module, arguments, output: seen.append(output.pooled.detach())
    )
    backward_in_parts(objective, views, 2, Ranks(), objective.current.losses)
    hook.remove()
    # The tower runs for each part without gradients, then again, besides for views of the other losses.
    sizes = [len(each) for each in embedded]
    of_parts = [each for each in seen if len(each) in sizes]
    first, second = (
        of_parts[:2],
        [each for each in of_parts[2:] if any(torch.equal(each, one) for one in of_parts[:2])],
    )
    assert len(first) == 2
    assert len(second) == 2


@pytest.mark.parametrize("packed", [0, 32])
def test_parts_may_have_no_images(staged, with_regions, tokenize, tmp_path, packed):
    """17 parts of batches that are halved, through every stage; a rank without images meets the same code."""
    stages = tuple(
        dataclasses.replace(stage, packed=packed if stage.sequence_lengths else 0) for stage in staged.stages
    )
    recipe = dataclasses.replace(staged, stages=stages, schedule=Schedule(num_steps=5, warmup_steps=1))
    train(recipe, with_regions, tokenize, tmp_path / "whole")
    train(dataclasses.replace(recipe, accumulate=17), with_regions, tokenize, tmp_path / "parts")
    for (step, one), (_, other) in zip(losses(tmp_path / "whole"), losses(tmp_path / "parts"), strict=True):
        assert one == pytest.approx(other, rel=1e-4), step
