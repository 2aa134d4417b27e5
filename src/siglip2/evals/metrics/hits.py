"""Image-text retrieval: the rank of the best right answer of every query, both ways.

hit@k is what papers print as R@k: the share of queries with any right answer among the first k. It differs
from true recall@k, which divides by the number of right answers; both are given here, under their own names.
Source: big_vision `evaluators/proj/image_text/image_text_retrieval.py`.
"""

from dataclasses import dataclass

import numpy as np

TIE_CHOICES = ("against", "order")
"""`against`: wrong answers of the same score stand in front. `order`: what comes first in the corpus does,
as after a stable sort."""


@dataclass(frozen=True)
class Ranks:
    """Ranks from 0 of right answers.

    Attributes:
        text_to_image: (T,) of each text's image.
        image_to_text: (Q,) of the best of each queried image's texts.
        queried: (Q,) indices of the images that have a text.
        recalled: (Q, K) share of each queried image's texts among the first k, for the k of `ks`.
        gain: (Q,) nDCG@10 of each queried image: gains of its texts among the first ten, by the logarithm of
            their places, as a share of the most that is possible.
    """

    text_to_image: np.ndarray
    image_to_text: np.ndarray
    queried: np.ndarray
    recalled: np.ndarray
    gain: np.ndarray


def retrieval_ranks(
    images: np.ndarray,
    texts: np.ndarray,
    image_of_text: np.ndarray,
    *,
    ks: tuple[int, ...] = (1, 5, 10),
    ties: str = "against",
    chunk: int = 1024,
) -> Ranks:
    """Retrieve every text's image and every image's texts.

    Args:
        images: (B, E) unit embeddings.
        texts: (T, E) unit embeddings.
        image_of_text: (T,) index of each text's image; images without a text are no queries, but stay in the
            corpus.
        ks: cut-offs of the true recall.
        ties: one of `TIE_CHOICES`. The reference leaves ties to chance.
        chunk: queries compared at a time.
    """
    text_ranks = [np.zeros(0, np.int64)]
    # Scores that fit into memory are computed once for both ways.
    kept = np.empty((len(images), len(texts)), np.float32) if _fit(images, texts) else None
    for start in range(0, len(texts), chunk):
        part = slice(start, start + chunk)
        scores = texts[part] @ images.T
        text_ranks.append(_ranks_of_images(scores, image_of_text[part], ties))
        if kept is not None:
            kept[:, part] = scores.T
    order = np.argsort(image_of_text, kind="stable")
    queried, first, counts = np.unique(image_of_text[order], return_index=True, return_counts=True)
    ranks = np.zeros(len(texts), np.int64)  # of each queried image's texts, one image after another
    for start in range(0, len(queried), chunk):
        asked = queried[start : start + chunk]
        scores = kept[asked] if kept is not None else images[asked] @ texts.T
        for row, query in zip(scores, range(start, start + len(scores)), strict=True):
            part = slice(first[query], first[query] + counts[query])
            ranks[part] = _ranks_of_texts(row, order[part], ties)
    # Sums over the texts of each image; an image with none is no query.
    within = np.stack([ranks < k for k in ks], axis=1)
    recalled = np.add.reduceat(within, first, axis=0, dtype=np.int64) / counts[:, None]
    best = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(GAIN_DEPTH) + 2.0))])
    gain = np.add.reduceat(discounted_gains(ranks), first) / best[np.minimum(counts, GAIN_DEPTH)]
    return Ranks(np.concatenate(text_ranks), ranks[first], queried, recalled, gain)


def _fit(images: np.ndarray, texts: np.ndarray) -> bool:
    return len(images) * len(texts) <= _MOST_SCORES and images.dtype == np.float32


_MOST_SCORES = 32_000_000  # 128 MB

GAIN_DEPTH = 10
"""Places that count in nDCG@10."""


def discounted_gains(ranks: np.ndarray) -> np.ndarray:
    """What a right answer at each rank from 0 adds to DCG@10; each is as good as the others."""
    return np.where(ranks < GAIN_DEPTH, 1 / np.log2(ranks + 2.0), 0.0)


def _ranks_of_images(scores: np.ndarray, owner: np.ndarray, ties: str) -> np.ndarray:
    """Rank of the one right image of each text; scores (Q, B)."""
    own = np.take_along_axis(scores, owner[:, None], axis=1)
    if ties == "order":
        earlier = (scores == own) & (np.arange(scores.shape[1]) < owner[:, None])
        return (scores > own).sum(axis=1) + earlier.sum(axis=1)
    return (scores >= own).sum(axis=1) - 1


def _ranks_of_texts(scores: np.ndarray, own: np.ndarray, ties: str) -> np.ndarray:
    """Ranks, best first, of the right texts of one image; scores (T,)."""
    own = own[np.argsort(-scores[own], kind="stable")]
    values = scores[own, None]
    if ties == "order":
        wrong = np.ones(len(scores), bool)
        wrong[own] = False
        earlier = (scores == values) & (np.arange(len(scores)) < own[:, None])
        return np.arange(len(own)) + (wrong & ((scores > values) | earlier)).sum(axis=1)
    # All that reach the score, less the right ones among them.
    in_front = (scores >= values).sum(axis=1) - (scores[own] >= values).sum(axis=1)
    return np.arange(len(own)) + in_front
