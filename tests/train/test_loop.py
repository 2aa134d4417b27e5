"""The loop: it learns, and stopping changes nothing."""

import json

import torch

from siglip2.train.checkpoints import load_state
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


def test_a_step_trains_every_tensor(tiny_recipe, tiny_data, tokenize, tmp_path):
    train(tiny_recipe, tiny_data, tokenize, tmp_path / "a", stop_after=1)
    before = load_state(tmp_path / "a")
    train(tiny_recipe, tiny_data, tokenize, tmp_path / "a", stop_after=2)
    after = load_state(tmp_path / "a")
    assert before is not None
    assert after is not None
    still = [
        name for name, value in before["objective"].items() if torch.equal(value, after["objective"][name])
    ]
    # A bias of the keys shifts every logit of a query alike: softmax does not see it.
    assert [name for name in still if "k_proj.bias" not in name] == []


def test_a_partly_written_state_leaves_the_last_one(tiny_recipe, tiny_data, tokenize, tmp_path):
    train(tiny_recipe, tiny_data, tokenize, tmp_path, stop_after=2)
    (tmp_path / "state.pt.partial").write_bytes(b"killed in the middle")
    state = load_state(tmp_path)
    assert state is not None
    assert state["step"] == 2
