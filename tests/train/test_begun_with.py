"""A run goes on with what it was begun with, and with nothing else."""

import dataclasses
import json
import shutil

import pytest
from tests.train.test_fine_tune import write_folder

from siglip2.cli.main import run as command
from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.recipes.recipe import Optimizer, Schedule
from siglip2.train.begun_with import FILE
from siglip2.train.loop import train
from siglip2.train.parallel import join_ranks
from siglip2.weights.load import load_checkpoint


def test_another_recipe_is_refused_and_what_may_change_may(tiny_recipe, tiny_data, tokenize, tmp_path):
    train(tiny_recipe, tiny_data, tokenize, tmp_path, stop_after=2)
    other = dataclasses.replace(tiny_recipe, optimizer=Optimizer(name="muon", learning_rate=1e-2), seed=3)
    with pytest.raises(InvalidInput, match=r"learning_rate 0\.001, not 0\.01; seed 0, not 3\. Go on with"):
        train(other, tiny_data, tokenize, tmp_path)
    longer = dataclasses.replace(
        tiny_recipe,
        schedule=Schedule(num_steps=4, warmup_steps=1),
        parallel="fsdp",
        accumulate=2,
        log_every=2,
        checkpoint_every=1,
        keep_checkpoints=1,
    )
    train(longer, tiny_data, tokenize, tmp_path)
    shorter = dataclasses.replace(tiny_recipe, schedule=Schedule(num_steps=3, warmup_steps=1))
    with pytest.raises(InvalidInput, match="has gone 4 steps already, and 3 were asked for"):
        train(shorter, tiny_data, tokenize, tmp_path)


def test_other_data_are_refused_until_somebody_says_that_they_moved(
    tiny_recipe, tiny_data, tokenize, tmp_path
):
    run, here, there = tmp_path / "run", tmp_path / "here", tmp_path / "there"
    train(tiny_recipe, tiny_data, tokenize, run, stop_after=1, data_folder=here)
    with pytest.raises(InvalidInput, match=r"the data in .*here, not .*there"):
        train(tiny_recipe, tiny_data, tokenize, run, stop_after=2, data_folder=there)
    path = run / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": str(there)}))
    train(tiny_recipe, tiny_data, tokenize, run, stop_after=2, data_folder=there)


def test_a_run_without_a_state_may_be_begun_anew(tiny_recipe, tiny_data, tokenize, tmp_path):
    train(tiny_recipe, tiny_data, tokenize, tmp_path, stop_after=1)
    shutil.rmtree(tmp_path / "checkpoints")
    train(dataclasses.replace(tiny_recipe, seed=3), tiny_data, tokenize, tmp_path, stop_after=1)
    assert json.loads((tmp_path / FILE).read_text())["recipe"]["seed"] == 3


def test_names_that_lock_nothing_are_refused(tiny_recipe, tiny_data, tokenize, tmp_path):
    with pytest.raises(InvalidInput, match=r"locked is vision_modle., with which no parameter's name begins"):
        train(dataclasses.replace(tiny_recipe, locked=("vision_modle.",)), tiny_data, tokenize, tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cuda:x"])
def test_devices_that_are_not_there_are_refused(device):
    with pytest.raises(InvalidInput, match=f"--device {device}: "):
        join_ranks(device, "ddp")


def test_mistakes_of_the_command_get_a_sentence(tmp_path):
    photos, run = write_folder(tmp_path / "photos"), tmp_path / "run"
    given = ["--data", str(photos), "--run", str(run)]
    with pytest.raises(InvalidInput, match="--threads -1"):
        command(["train", "fine_tune", *given, "--threads", "-1"])
    own = ["train", "nano_sigmoid", *given]
    for place in range(3):
        own += [f"--sources.{place}.name", "folder"]
    with pytest.raises(InvalidInput, match=r"nano has vision.image_size 128 and not 64, .* as the recipe"):
        command([*own, "--initial_weights", "nano"])
    run.mkdir()
    vocabulary = load_checkpoint("nano").tokenizer
    assert vocabulary is not None
    shutil.copy(vocabulary, run / "tokenizer.json")
    with pytest.raises(Siglip2Error, match="has 12000 pieces, more than the 100 of"):
        command([*own, "--model.text.vocab_size", "100"])
