"""Metrics against plain forms, ties and chance."""

import numpy as np
import pytest

from siglip2.evals.classification import top_k_accuracy
from siglip2.evals.intervals import Share
from siglip2.evals.retrieval import retrieval


def unit(rng, *shape):
    x = rng.standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_wilson_interval_of_a_known_case():
    share = Share.of(8, 10)
    assert (share.low, share.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    with pytest.raises(ValueError, match="0 cases"):
        Share.of(0, 0)


def test_retrieval_equals_sorting_by_hand():
    rng = np.random.default_rng(0)
    images, image_of_text = unit(rng, 30, 8), rng.integers(0, 30, 90)
    texts = images[image_of_text] + 0.6 * unit(rng, 90, 8)
    result = retrieval(images, texts, image_of_text, ks=(1, 5), chunk=7)
    scores = texts @ images.T
    for k in (1, 5):
        top = np.argsort(-scores, axis=1)[:, :k]
        assert result.text_to_image[k].value == np.mean(
            [own in row for own, row in zip(image_of_text, top, strict=True)]
        )
        queries = sorted(set(image_of_text))
        best = [np.argsort(-scores[:, i])[:k] for i in queries]
        hits = [(image_of_text[row] == i).any() for i, row in zip(queries, best, strict=True)]
        assert result.image_to_text[k].value == np.mean(hits)


def test_a_model_with_one_vector_scores_nothing():
    same = np.ones((20, 4)) / 2
    result = retrieval(same, same, np.arange(20))
    assert result.text_to_image[10].value == 0
    assert result.image_to_text[10].value == 0
    assert top_k_accuracy(same, same, np.arange(20))[5].value == 0


def test_random_vectors_score_at_chance():
    rng = np.random.default_rng(1)
    accuracy = top_k_accuracy(unit(rng, 4000, 16), unit(rng, 50, 16), rng.integers(0, 50, 4000))
    assert accuracy[1].low <= 1 / 50 <= accuracy[1].high
    assert accuracy[5].low <= 5 / 50 <= accuracy[5].high
