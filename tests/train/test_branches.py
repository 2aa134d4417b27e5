"""Branches: runs that go on from the state of another one, with the rest of its schedule stretched."""

import dataclasses
import json

import pytest
import torch
from tests.train.test_cached_pairs import prepared
from tests.train.test_stages import losses, staged, with_regions

from siglip2.errors import InvalidInput
from siglip2.recipes.published import base_patch16_naflex
from siglip2.recipes.recipe import Branch, LossWeights, Schedule, Stage
from siglip2.train.loop import train
from siglip2.train.parallel import Ranks
from siglip2.train.split import halves

__all__ = ["prepared", "staged", "with_regions"]

CAPTIONS = LossWeights(locca=1.0)


@pytest.fixture
def trunk(staged):
    stages = (Stage(name="captions", begin=0.0, losses=CAPTIONS),)
    schedule = Schedule(num_steps=8, warmup_steps=2)
    return dataclasses.replace(staged, name="trunk", stages=stages, schedule=schedule, keep_at=(0.5,))


def entries(run):
    return {entry["step"]: entry for entry in map(json.loads, (run / "log.jsonl").read_text().splitlines())}


def test_a_branch_that_changes_nothing_is_the_run_it_goes_on_from(trunk, with_regions, tokenize, tmp_path):
    """The state at half of the run stays on disk, though others come after it."""
    frequent = dataclasses.replace(trunk, checkpoint_every=1)
    whole = train(frequent, with_regions, tokenize, tmp_path / "trunk")
    same = dataclasses.replace(trunk, branch=Branch(recipe="trunk", share=0.5))
    branch = train(same, with_regions, tokenize, tmp_path / "branch", branch_from=tmp_path / "trunk")
    assert losses(tmp_path / "branch") == losses(tmp_path / "trunk")[4:]
    assert all(torch.equal(whole[name], branch[name]) for name in whole)


def test_a_branch_stretches_the_rest_of_the_schedule_and_resumes_to_the_bit(
    trunk, with_regions, tokenize, tmp_path
):
    train(trunk, with_regions, tokenize, tmp_path / "trunk")
    native = Stage(name="NaFlex", begin=0.5, losses=CAPTIONS, sequence_lengths=(4, 9), halved_from=9)
    recipe = dataclasses.replace(
        trunk, stages=(*trunk.stages, native), branch=Branch(recipe="trunk", share=0.5, steps_stretch=2.0)
    )
    assert (recipe.branch_step, recipe.last_step) == (4, 12)
    where = {"branch_from": tmp_path / "trunk"}
    straight = train(recipe, with_regions, tokenize, tmp_path / "straight", **where)
    for stop in (5, 9, None):
        parts = train(recipe, with_regions, tokenize, tmp_path / "parts", stop_after=stop, **where)
    assert losses(tmp_path / "straight") == losses(tmp_path / "parts")
    assert all(torch.equal(straight[name], parts[name]) for name in straight)
    before, after = entries(tmp_path / "trunk"), entries(tmp_path / "straight")
    assert set(after) == set(range(5, 13))
    assert {entry["stage"] for entry in after.values()} == {"NaFlex"}
    for step in range(4):  # two steps of the branch for one of the trunk
        here, there = after[5 + 2 * step], before[5 + step]
        assert here["learning_rate_factor"] == pytest.approx(there["learning_rate_factor"])


def test_a_branch_says_which_state_it_needs(trunk, with_regions, tokenize, tmp_path):
    recipe = dataclasses.replace(trunk, name="twig", branch=Branch(recipe="trunk", share=0.75))
    with pytest.raises(InvalidInput, match=r"twig goes on from trunk at step 6: .* --branch-from"):
        train(recipe, with_regions, tokenize, tmp_path / "twig")
    train(trunk, with_regions, tokenize, tmp_path / "trunk")
    with pytest.raises(InvalidInput, match=r"holds the states of 4, 8: .* --keep_at 0.75"):
        train(recipe, with_regions, tokenize, tmp_path / "twig", branch_from=tmp_path / "trunk")


def test_the_published_branch_is_as_long_as_the_paper_says():
    recipe = base_patch16_naflex()
    assert recipe.branch_step == recipe.first_step(1)
    assert recipe.stage_at(recipe.branch_step - 1) == 0
    assert recipe.stage_at(recipe.branch_step) == 1
    assert (recipe.last_step - recipe.branch_step) * 32_768 == pytest.approx(15e9, rel=1e-3)
    assert recipe.progress(recipe.last_step) == pytest.approx(recipe.schedule.num_steps)


def test_halves_hold_every_image_once_with_its_text_and_its_targets(prepared):
    _, views = prepared
    found = halves(views, Ranks())
    positions = torch.cat([half.positions for half in found])
    assert sorted(positions.tolist()) == sorted(views.positions.tolist())
    assert abs(len(found[0].positions) - len(found[1].positions)) <= 1
    count = 0
    for half in found:
        assert set(half.text_of_image.tolist()) == set(half.text_numbers.tolist())
        assert half.global_view is not None
        assert half.targets is not None
        for row, position in enumerate(half.positions.tolist()):
            (before,) = (views.positions == position).nonzero()[:, 0].tolist()
            assert torch.equal(half.patches[row], views.patches[before])
            assert torch.equal(half.global_view[row], views.global_view[before])
            own, whole = half.targets.image == row, views.targets.image == before
            assert torch.equal(half.targets.ids[own], views.targets.ids[whole])
            count += int(own.sum())
    assert count == len(views.targets.ids)
