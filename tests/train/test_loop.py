"""The loop: it learns, and stopping changes nothing."""

import dataclasses
import json

import pytest
import torch

from siglip2.errors import Siglip2Error
from siglip2.train.begun_with import FILE
from siglip2.train.checkpoints import Checkpoints, load_tensors
from siglip2.train.loop import train


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_stopped_and_resumed_equals_straight_through(tiny_recipe, tiny_data, tokenize, tmp_path):
    straight = train(tiny_recipe, tiny_data, tokenize, tmp_path / "straight")
    for stop in (4, 7):
        train(tiny_recipe, tiny_data, tokenize, tmp_path / "parts", stop_after=stop)
    parts = train(tiny_recipe, tiny_data, tokenize, tmp_path / "parts")
    assert losses(tmp_path / "straight") == losses(tmp_path / "parts")
    assert all(torch.equal(straight[name], parts[name]) for name in straight)


def state_at(run, step):
    return load_tensors(run / "checkpoints" / f"step-{step:08d}")


def test_a_step_trains_every_tensor(tiny_recipe, tiny_data, tokenize, tmp_path):
    train(tiny_recipe, tiny_data, tokenize, tmp_path / "a", stop_after=1)
    train(tiny_recipe, tiny_data, tokenize, tmp_path / "a", stop_after=2)
    before, after = (state_at(tmp_path / "a", step)["objective"] for step in (1, 2))
    still = [name for name, value in before.items() if torch.equal(value, after[name])]
    # A bias of the keys shifts every logit of a query alike: softmax does not see it.
    assert [name for name in still if "k_proj.bias" not in name] == []


def test_a_partly_written_state_leaves_the_last_one(tiny_recipe, tiny_data, tokenize, tmp_path):
    train(tiny_recipe, tiny_data, tokenize, tmp_path, stop_after=2)
    partial = tmp_path / "checkpoints" / "step-00000003.partial"
    partial.mkdir()
    (partial / "__0_0.distcp").write_bytes(b"killed in the middle")
    assert Checkpoints(tmp_path).steps == [2]
    train(tiny_recipe, tiny_data, tokenize, tmp_path, stop_after=3)
    assert Checkpoints(tmp_path).steps == [2, 3]


def test_few_states_are_kept(tiny_recipe, tiny_data, tokenize, tmp_path):
    recipe = dataclasses.replace(tiny_recipe, checkpoint_every=1, keep_checkpoints=3)
    train(recipe, tiny_data, tokenize, tmp_path, stop_after=7)
    assert Checkpoints(tmp_path).steps == [5, 6, 7]


def test_a_state_of_another_recipe_is_refused_with_a_sentence(tiny_recipe, tiny_data, tokenize, tmp_path):
    train(tiny_recipe, tiny_data, tokenize, tmp_path, stop_after=1)
    wider = dataclasses.replace(tiny_recipe.model.vision, width=64)
    model = dataclasses.replace(
        tiny_recipe.model, vision=wider, text=dataclasses.replace(tiny_recipe.model.text, width=64)
    )
    (tmp_path / FILE).unlink()  # as in the folder of a run from before it was kept
    with pytest.raises(Siglip2Error, match="does not fit this recipe"):
        train(dataclasses.replace(tiny_recipe, model=model), tiny_data, tokenize, tmp_path)
