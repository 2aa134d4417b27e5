"""Image-text retrieval: hit@k both ways, with several captions an image.

hit@k is what papers print as R@k: the share of queries with any right answer among the first k. It differs
from true recall, which divides by the number of right answers.
Source: big_vision `evaluators/proj/image_text/image_text_retrieval.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from siglip2.evals.intervals import Share


@dataclass(frozen=True)
class RetrievalResult:
    """hit@k in both directions, by k."""

    text_to_image: dict[int, Share]
    image_to_text: dict[int, Share]


def retrieval(
    images: np.ndarray,
    texts: np.ndarray,
    image_of_text: np.ndarray,
    *,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 1024,
) -> RetrievalResult:
    """Retrieve every text's image and every image's texts.

    A tie counts against the model: a right answer ranks behind all wrong ones of the same score, so that a
    model that gives everything one vector scores nothing. The reference leaves ties to chance.

    Args:
        images: (B, E) unit embeddings.
        texts: (T, E) unit embeddings.
        image_of_text: (T,) index of each text's image; images without a text count in neither direction's
            queries but stay in the corpus.
        ks: cut-offs.
        chunk: rows compared at a time.
    """
    text_ranks = np.concatenate(
        [
            _ranks(texts[start : start + chunk] @ images.T, image_of_text[start : start + chunk, None])
            for start in range(0, len(texts), chunk)
        ]
    )
    owned: list[np.ndarray] = [np.flatnonzero(image_of_text == index) for index in range(len(images))]
    queries = [index for index, own in enumerate(owned) if len(own)]
    image_ranks = np.array([_best_rank(texts @ images[index], owned[index]) for index in queries])
    return RetrievalResult(
        text_to_image={k: Share.of(int((text_ranks < k).sum()), len(text_ranks)) for k in ks},
        image_to_text={k: Share.of(int((image_ranks < k).sum()), len(image_ranks)) for k in ks},
    )


def _ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    own = np.take_along_axis(scores, right, axis=1)
    # Wrong answers of at least this score stand in front; the right one itself does not.
    return (scores >= own).sum(axis=1) - 1


def _best_rank(scores: np.ndarray, right: np.ndarray) -> int:
    best = scores[right].max()
    return int((scores >= best).sum() - (scores[right] >= best).sum())
