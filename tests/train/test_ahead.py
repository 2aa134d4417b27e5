"""Samples made ready ahead: by a thread or by processes, the same."""

import subprocess
import sys
from pathlib import Path

import torch

from siglip2.train.ahead import Preparation, prepare_ahead, workers_for
from siglip2.train.parallel import Ranks
from siglip2.train.resident import ResidentPictures


def test_processes_make_what_a_thread_makes():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.prepared_by_processes"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "the same\n", done.stderr


def test_nothing_is_drawn_before_or_after_the_steps(tiny_data, tiny_recipe, tokenize):
    preparation = Preparation(tiny_recipe, tiny_data, tokenize, 0, 1)
    assert list(prepare_ahead(preparation, range(5, 5), 0)) == []
    ahead = prepare_ahead(preparation, range(0, 1000), 0)
    next(ahead)
    ahead.close()


def test_processes_are_for_a_gpu_and_pictures_in_memory(tiny_data):
    assert workers_for(tiny_data, Ranks(device="cpu")) == 0
    assert workers_for(tiny_data, Ranks(device="cuda:0")) >= 1
    other = [object.__new__(type("Shards", (), {}))]
    assert workers_for(other, Ranks(device="cuda")) == 0  # type: ignore[arg-type]


def test_pictures_on_the_device_are_those_that_would_be_sent(tiny_data, tiny_recipe, tokenize):
    sent = Preparation(tiny_recipe, tiny_data, tokenize, 0, 1)[3]
    rows_alone = Preparation(tiny_recipe, tiny_data, tokenize, 0, 1, pictures=False)[3]
    assert rows_alone.pictures == []
    found = ResidentPictures(tiny_data, "cpu").look_up(rows_alone)
    for ours, theirs in zip(found.pictures, sent.pictures, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(found.random, sent.random)


def test_a_processor_keeps_its_pictures_where_they_are(tiny_data):
    assert ResidentPictures.where_they_fit(tiny_data, Ranks(device="cpu")) is None
