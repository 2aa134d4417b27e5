"""A recipe that cannot be trained is refused with a sentence, before anything is computed."""

import pytest

from siglip2.cli.main import run
from siglip2.errors import InvalidInput
from siglip2.recipes.nano import nano
from siglip2.recipes.registry import RECIPES, find_recipe, override
from siglip2.recipes.validate import validate


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_holds_together(name):
    validate(find_recipe(name), to_train=False)
    validate(nano(small=True), to_train=True)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("log_every", "0", "log_every is 0: it has to be 1 at least"),
        ("checkpoint_every", "0", "checkpoint_every is 0"),
        ("accumulate", "0", "accumulate is 0"),
        ("accumulate", "999", "a batch of 384 images"),
        ("sources.0.images_per_batch", "0", "sources.0.images_per_batch is 0"),
        ("optimizer.learning_rate", "nan", "optimizer.learning_rate is nan"),
        ("optimizer.betas", "0.9,1.0", "optimizer.betas.1 is 1.0: it has to be from 0 to below 1"),
        ("stages.0.begin", "0.5", "stages.0.begin is 0.5: the first stage begins at 0"),
        ("stages.2.begin", "0.5", "a stage begins after the one before, here 0.8"),
        ("stages.4.begin", "1", "before 1"),
        ("stages.0.image_size", "8", "an image of 8 pixels a side holds no patch of 16"),
        ("stages.4.losses.sigmoid", "0", "stages.4.losses: all weights are 0"),
        ("stages.0.losses.sigmoid", "-1", "stages.0.losses.sigmoid is -1.0"),
        ("stages.4.curation.filter_ratio", "1", "filter_ratio is 1.0: a super-batch is a whole number"),
        ("stages.4.curation.filter_ratio", "0.6", "it has to be 1 - 1/n"),
        ("stages.4.curation.filter_ratio", "0.3", "it has to be 1 - 1/n"),
        ("mixed", "2", "mixed is 2.0: it is a share"),
        ("stages.0.packed", "64", "stages.0.packed is 64: .* for stages with sequence_lengths alone"),
        ("stages.3.packed", "-1", "stages.3.packed is -1: it is a number of patches from 1 on"),
    ],
)
def test_mistakes_are_named(path, value, message):
    with pytest.raises(InvalidInput, match=message):
        validate(override(nano(), {path: value}), to_train=False)


@pytest.mark.parametrize("ratio", ["0.5", "0.667", "0.75", "0.8", "0.9"])
def test_ratios_of_whole_super_batches_are_fine(ratio):
    validate(override(nano(), {"stages.4.curation.filter_ratio": ratio}), to_train=True)


def test_captions_alone_take_no_parts():
    changed = override(nano(), {"stages.0.losses.sigmoid": "0", "accumulate": "2"})
    with pytest.raises(InvalidInput, match=r"stages.0.losses compares no pairs"):
        validate(changed, to_train=False)


def test_what_follows_a_finished_run_takes_its_weights():
    curated = find_recipe("base_patch16_256_curated")
    validate(curated, to_train=False)
    with pytest.raises(InvalidInput, match=r"a finished base_patch16_256: .* --initial_weights RUN/model"):
        validate(curated, to_train=True)
    validate(override(curated, {"branch": "none"}), to_train=True)
    naflex = find_recipe("base_patch16_naflex")
    validate(naflex, to_train=True)
    assert override(naflex, {"keep_at": "0.25,0.5"}).keep_at == (0.25, 0.5)
    with pytest.raises(InvalidInput, match=r"branch.share is 1.5"):
        validate(override(naflex, {"branch.share": "1.5"}), to_train=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nano", "--dry-run", "--log_every", "0"], "log_every is 0"),
        (["fine_tune", "--dry-run", "--low-rank", "-1"], "low_rank.rank is -1"),
        (["nano", "--dry-run", "--steps", "0"], "--steps 0"),
        (["nano", "--dry-run", "--optimizer.betas", "0.9"], "takes 2 values with commas"),
        (["nano_main", "--dry-run", "--low-rank", "4"], "--low-rank: for fine_tune only, not nano_main"),
        (
            ["nano_main", "--dry-run", "--lock-images", "--model", "x"],
            "--model, --lock-images: for",
        ),
        (["nano", "--dry-run", "--model.vision.image_size", "96"], "gives 6 patches of 16 a side"),
        (["nano", "--dry-run", "--model.vision.patch_size", "0"], "--model.vision.patch_size 0"),
    ],
)
def test_the_command_refuses_before_it_prints(arguments, message, capsys):
    with pytest.raises(InvalidInput, match=message):
        run(["train", *arguments])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--change", "seed=7", "--accumulate", "4"],
        ["--accumulate", "4", "--change=seed=7"],
        ["--change", "seed=7", "--change", "accumulate=4"],
        ["--change", "seed=7", "accumulate=4"],
    ],
)
def test_changes_add_up(arguments, capsys):
    assert run(["train", "nano", "--dry-run", *arguments]) == 0
    printed = capsys.readouterr().out
    assert '"seed": 7' in printed
    assert '"accumulate": 4' in printed


@pytest.mark.parametrize("order", [1, -1])
def test_fields_that_have_to_fit_are_changed_together(order):
    changes = {"model.vision.image_size": "128", "model.vision.position_grid": "8"}
    recipe = override(nano(), dict(list(changes.items())[::order]))
    assert (recipe.model.vision.image_size, recipe.model.vision.position_grid) == (128, 8)
    with pytest.raises(InvalidInput, match=r"model is changed as a whole|fields of model are changed"):
        override(nano(), dict([("model", "x"), ("model.vision.depth", "4")][::order]))
