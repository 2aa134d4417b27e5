"""NaFlex batches in one sequence: the losses of padded ones, few shapes for the compiler, patches resized."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.train.test_stages import CAPTIONS, losses, staged, with_regions

from siglip2.network.model import SigLIP2
from siglip2.recipes.recipe import Curation, LossWeights, Schedule, Stage
from siglip2.train.loop import train
from siglip2.train.objective import PATCH_KERNEL, Objective, stage_config

__all__ = ["staged", "with_regions"]


def native(recipe, packed, **changes):
    """All of a run with native aspect ratios, its second half curated."""
    lengths = (4, 9)
    stages = (
        Stage(name="naflex", begin=0.0, losses=CAPTIONS, sequence_lengths=lengths, packed=packed),
        Stage(
            name="curated", begin=0.5, sequence_lengths=lengths, packed=packed, curation=Curation(chunks=4)
        ),
    )
    schedule = Schedule(num_steps=8, warmup_steps=2)
    return dataclasses.replace(recipe, schedule=schedule, stages=stages, **changes)


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "activation_checkpointing": True}])
def test_packed_batches_train_as_padded_ones(staged, with_regions, tokenize, tmp_path, changes):
    padded = train(native(staged, 0), with_regions, tokenize, tmp_path / "padded")
    packed = train(native(staged, 32, **changes), with_regions, tokenize, tmp_path / "packed")
    pairs = zip(losses(tmp_path / "padded"), losses(tmp_path / "packed"), strict=True)
    for (step, ours), (_, theirs) in pairs:
        assert ours == pytest.approx(theirs, rel=1e-5), step
    for name, value in padded.items():
        if not name.endswith("k_proj.bias"):  # no gradient but rounding, which Adam makes as large as any
            torch.testing.assert_close(packed[name], value, atol=2e-4, rtol=0, msg=name)


COUNT_GRAPHS = """
import dataclasses, sys, tempfile
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from siglip2.recipes.recipe import LossWeights
import tests.train.conftest as given
import tests.train.test_packed_run as here
import tests.train.test_stages as stages
base = stages.unwrapped(stages.staged)(stages.unwrapped(given.tiny_recipe)())
data = stages.unwrapped(stages.with_regions)(stages.unwrapped(given.tiny_data)())
real = torch.nn.Module.compile
# Without code generation, and every new shape a graph of its own.
torch.nn.Module.compile = lambda self: real(self, backend="aot_eager", dynamic=False)
# Pairs alone, all of them in every batch, so that there are as many texts.
pairs = dataclasses.replace(base.sources[1], images_per_batch=11)
base = dataclasses.replace(base, sources=(pairs,))
for packed, steps in ((11 * 9, 1), (11 * 9, 8), (1, 8)):
    torch._dynamo.reset()
    counters.clear()
    recipe = here.native(base, packed, compile=True)
    # Without captions: their decoder sees as many targets as there are boxes, another number in every batch.
    stage = dataclasses.replace(recipe.stages[0], losses=LossWeights())
    recipe = dataclasses.replace(recipe, stages=(stage,))
    tokenize, run = stages.unwrapped(given.tokenize)(), Path(tempfile.mkdtemp())
    here.train(recipe, data[1:], tokenize, run, stop_after=steps)
    print(counters["stats"]["unique_graphs"])
"""


@pytest.mark.slow
def test_a_fixed_budget_compiles_once_where_other_batches_do_not():
    """A budget that holds any batch is one shape, whatever the length drawn; small multiples are many.

    In a process of its own: the checks of shapes that tests switch on cannot be compiled.
    """
    command = [sys.executable, "-c", COUNT_GRAPHS]
    root = Path(__file__).resolve().parents[2]
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=True)
    one_step, one_budget, any_length = (int(line) for line in printed.stdout.split())
    assert one_budget == one_step
    assert any_length > one_step


@pytest.mark.parametrize(("patch_size", "image_size"), [(4, None), (16, 32)])
def test_patches_change_their_size_within_a_run(
    staged, with_regions, tokenize, tmp_path, patch_size, image_size
):
    """As 16 to 14 and 16 to 32: kernel, positions and average follow, and a resumed run is the same."""
    dense = LossWeights(locca=1.0, self_distillation=0.25, masked_prediction=0.0625)
    changed = Stage(name="patches", begin=0.5, losses=dense, patch_size=patch_size, image_size=image_size)
    stages = (Stage(name="before", begin=0.0, losses=dense), changed)
    recipe = dataclasses.replace(staged, schedule=Schedule(num_steps=6, warmup_steps=1), stages=stages)
    straight = train(recipe, with_regions, tokenize, tmp_path / "straight")
    for stop in (2, 4):
        train(recipe, with_regions, tokenize, tmp_path / "parts", stop_after=stop)
    train(recipe, with_regions, tokenize, tmp_path / "parts")
    assert losses(tmp_path / "straight") == losses(tmp_path / "parts")
    config = stage_config(recipe, 1)
    assert config.vision.patch_size == patch_size
    assert straight[PATCH_KERNEL].shape == (32, 3 * patch_size**2)
    SigLIP2(config).load_state_dict(straight)


def test_larger_patches_see_enlarged_pictures_as_before(staged):
    """A picture of one colour, at twice the size in patches of twice the size."""
    stages = (staged.stages[0], Stage(name="patches", begin=0.5, patch_size=16, image_size=32))
    objective = Objective(dataclasses.replace(staged, stages=stages))
    average = {name: value.clone() for name, value in objective.model.state_dict().items()}
    colours = torch.rand(3, 1, 1, 3) * 2 - 1
    with torch.no_grad():
        objective.enter(0, average)
        small = objective.model.embed_images(colours.expand(3, 4, 64, 3).reshape(3, 4, -1))
        objective.enter(1, average)
        large = objective.model.embed_images(colours.expand(3, 4, 256, 3).reshape(3, 4, -1))
    torch.testing.assert_close(small, large, atol=1e-5, rtol=0)
