"""Losses of twenty steps through every stage, stored; to accept a change, delete the file and run this."""

import dataclasses
import json
from pathlib import Path

import pytest
from tests.train.test_stages import losses, staged, with_regions

from siglip2.recipes.recipe import Schedule
from siglip2.train.loop import train

GOLDEN = Path(__file__).parent / "golden_losses.json"

__all__ = ["staged", "with_regions"]


def test_twenty_steps_give_the_stored_losses(staged, with_regions, tokenize, tmp_path):
    recipe = dataclasses.replace(staged, schedule=Schedule(num_steps=20, warmup_steps=2))
    train(recipe, with_regions, tokenize, tmp_path)
    found = [parts for _, parts in losses(tmp_path)]
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    stored = json.loads(GOLDEN.read_text())
    assert len(found) == len(stored) == 20
    for step, (ours, kept) in enumerate(zip(found, stored, strict=True)):
        assert ours.keys() == kept.keys(), step
        # To the bit on the machine that stored them; other processors add in another order.
        assert list(ours.values()) == pytest.approx(list(kept.values()), rel=2e-4), step
