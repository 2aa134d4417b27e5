"""What is remembered between requests: right, and never more than the bound."""

import numpy as np
import pytest

from siglip2.serve.remembered import Remembered
from siglip2.serve.text_cache import TextCache


def test_texts_make_room_for_those_asked_for_last():
    cache = TextCache(2, 3)
    for number, text in enumerate(("a", "b")):
        cache.put(text, np.full(3, number, np.float32), number + 1)
    assert cache.get("a") is not None
    cache.put("c", np.full(3, 2, np.float32), 3)  # in the place of b, since a was asked for later
    assert cache.gather(["b"]) is None
    vectors, tokens = cache.gather(["c", "a", "c"]) or pytest.fail("they are there")
    assert vectors.tolist() == [[2, 2, 2], [0, 0, 0], [2, 2, 2]]
    assert tokens.tolist() == [3, 1, 3]
    vectors[:] = 9  # a copy: nothing of it reaches the cache
    again, _ = cache.get("a") or pytest.fail("it is there")
    assert again.tolist() == [0, 0, 0]
    assert len(cache) == 2


def test_a_text_put_twice_takes_one_place():
    cache = TextCache(2, 1)
    for value in (1, 2):
        cache.put("a", np.full(1, value, np.float32), value)
    cache.put("b", np.zeros(1, np.float32), 1)
    assert len(cache) == 2
    vector, tokens = cache.get("a") or pytest.fail("it is there")
    assert (vector.tolist(), tokens) == ([2], 2)


def test_a_cache_of_nothing():
    cache = TextCache(0, 3)
    cache.put("a", np.zeros(3, np.float32), 1)
    assert cache.get("a") is None
    assert len(cache) == 0


def test_values_within_a_sum_of_sizes():
    kept = Remembered[str](10)
    kept.put("a", "A", 4)
    kept.put("b", "B", 4)
    assert kept.get("a") == "A"
    kept.put("c", "C", 4)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == ("A", None, "C")
    kept.put("c", "D", 7)
    assert (kept.get("a"), kept.get("c"), len(kept)) == (None, "D", 1)
    kept.put("huge", "H", 11)
    assert kept.get("huge") is None


def test_keys_without_a_hash_are_passed_over():
    kept = Remembered[str](10)
    kept.put(({},), "A", 1)
    assert kept.get(({},)) is None
    assert len(kept) == 0


def test_labels_of_one_request_and_of_the_next(client):
    """The second request of the same labels, whose prompts are remembered, gets the same answer."""
    from tests.serve.conftest import data_url

    def ask(labels, template=None):
        body = {"input": data_url(), "labels": labels, "template": template}
        return client.post("/v1/classify", json=body).json()["data"]

    first = ask(["a tabby", "a collie"])
    assert ask(["a tabby", "a collie"]) == first
    other = ask(["a tabby", "a collie"], "a sketch of {label}")
    assert other[0]["predictions"] != first[0]["predictions"]
    own = [{"label": "a tabby", "prompts": ["a sketch"]}, "a collie"]
    assert ask(own) == ask(own)
