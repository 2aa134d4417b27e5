"""Recipes: what they expand to, what may be changed, and what they cost."""

import dataclasses
import json
from pathlib import Path

import pytest

from siglip2.cli.main import run
from siglip2.errors import InvalidInput
from siglip2.recipes.cost import image_flops, stage_costs, state_bytes, text_flops
from siglip2.recipes.nano import nano
from siglip2.recipes.published import STEPS, base_patch16_256, base_patch16_naflex
from siglip2.recipes.registry import RECIPES, find_recipe, override
from siglip2.train.plan import expanded

GOLDEN = Path(__file__).parent / "expanded"


@pytest.mark.parametrize("name", [*RECIPES, "nano_small"])
def test_expanded_recipes_are_golden(name):
    """A change of any field shows here; to accept it, write the new expansion over the file."""
    recipe = nano(small=True) if name == "nano_small" else find_recipe(name)
    assert (GOLDEN / f"{name}.json").read_text() == expanded(recipe)


def test_the_published_run_is_the_papers():
    recipe = base_patch16_256()
    assert STEPS == 1_220_703
    assert recipe.first_step(1) == 976_562
    assert sum(source.images_per_batch for source in recipe.sources) == 32_768
    assert recipe.sources[0].images_per_batch / 32_768 == pytest.approx(0.9, abs=1e-4)
    assert recipe.optimizer.learning_rate == 1e-3
    assert recipe.optimizer.weight_decay * recipe.optimizer.learning_rate == pytest.approx(1e-4)
    dense = recipe.stages[1].losses
    assert (dense.sigmoid, dense.locca, dense.self_distillation, dense.masked_prediction) == (
        1,
        1,
        0.25,
        0.0625,
    )


def test_naflex_branch_sees_fifteen_billion_examples():
    costs = stage_costs(base_patch16_naflex())
    assert costs[0].steps == 0
    assert costs[1].examples == pytest.approx(15e9, rel=0.01)


def test_work_of_a_pair_equals_the_figure_of_the_profilers():
    """57.84 GFLOP forward for B/16 at 256 pixels, 46.82 of them for the image (open_clip's model profile)."""
    model = base_patch16_256().model
    assert image_flops(model, 256) == pytest.approx(46.82e9, rel=0.03)
    assert text_flops(model) == pytest.approx(11.02e9, rel=0.03)


def test_the_training_state_holds_decoder_heads_and_teacher():
    """Counted by the modules themselves; 14.9 GiB for the paper's run."""
    pytest.importorskip("torch")
    from tests.train.tiny_recipes import tiny

    from siglip2.train.objective import Objective

    assert state_bytes(base_patch16_256()) / 2**30 == pytest.approx(14.9, abs=0.05)
    recipe = tiny(base_patch16_256())
    objective = Objective(recipe)
    for index in range(2):
        objective.enter(index, dict(objective.model.state_dict()))
    model = recipe.model.num_parameters
    learning = sum(each.numel() for each in objective.parameters() if each.requires_grad)
    still = sum(each.numel() for each in objective.parameters() if not each.requires_grad)
    assert sum(each.numel() for each in objective.model.parameters()) == model
    assert state_bytes(recipe) == 4 * (4 * learning + still + model)


def test_fields_are_changed_by_path():
    recipe = override(
        nano(),
        {
            "optimizer.learning_rate": "1e-4",
            "stages.1.begin": "0.5",
            "stages.3.sequence-lengths": "4,9",
            "optimizer.name": "adamw",
            "compile": "true",
            "model.vision.depth": "4",
        },
    )
    assert recipe.optimizer.learning_rate == 1e-4
    assert recipe.stages[1].begin == 0.5
    assert recipe.stages[3].sequence_lengths == (4, 9)
    assert recipe.compile is True
    assert recipe.model.vision.depth == 4
    assert dataclasses.replace(recipe, name="other") != nano()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optimiser.learning_rate", "1", "a recipe has no optimiser, did you mean optimizer"),
        ("optimizer.learning_rate", "fast", "'fast' is no float"),
        ("optimizer.name", "lion", "one of adamw, muon"),
        ("stages.9.begin", "0", "9 is not one of the places 0 to 4"),
        ("seed.value", "1", "there is nothing below seed"),
        ("model.vision.num_heads", "5", "width 192 is not a multiple"),
        ("optimizer", "adamw", "name one of its fields"),
    ],
)
def test_wrong_changes_are_told_apart(path, value, message):
    with pytest.raises(InvalidInput, match=message):
        override(nano(), {path: value})


def test_dry_run_prints_the_plan(capsys):
    assert (
        run(["train", "nano", "--dry-run", "--optimizer.learning_rate", "5e-4", "--stages.0.name=first"]) == 0
    )
    printed = capsys.readouterr().out
    recipe = json.loads(printed[: printed.index("\n}\n") + 3])
    assert recipe["optimizer"]["learning_rate"] == 5e-4
    assert recipe["stages"][0]["name"] == "first"
    assert "80% to  90%  with self-distillation and masking" in printed
    assert "H100 hours" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nanoo"], "there is no recipe 'nanoo', did you mean nano"),
        (["nano"], "--data names the folder of the training data"),
        (["nano", "--seed.x"], "--seed.x needs a value"),
        (["nano_sigmoid", "--small"], "--small is for nano only"),
    ],
)
def test_mistakes_get_a_sentence(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        run(["train", *arguments])


def test_private_data_are_named(tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(
        InvalidInput, match="trains on webli_english, webli_other_languages, which are not public"
    ):
        run(["train", "base_patch16_256", "--data", str(tmp_path), "--run", str(tmp_path / "run")])
