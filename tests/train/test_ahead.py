"""Samples made ready ahead: by a thread or by processes, the same."""

import torch

from siglip2.train.ahead import Preparation, prepare_ahead, workers_for
from siglip2.train.parallel import Ranks


def test_processes_make_what_a_thread_makes(tiny_data, tiny_recipe, tokenize):
    preparation = Preparation(tiny_recipe, tiny_data, tokenize, 0, 1)
    ways = [list(prepare_ahead(preparation, range(3, 8), workers)) for workers in (0, 2)]
    assert [len(way) for way in ways] == [5, 5]
    for one, other in zip(*ways, strict=True):
        assert one.texts == other.texts
        assert one.keys == other.keys
        for name in ("ids", "text_of_image", "positions", "random"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        for name in ("pictures", "crops"):
            for ours, theirs in zip(getattr(one, name), getattr(other, name), strict=True):
                assert torch.equal(ours, theirs), name


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
