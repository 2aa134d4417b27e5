"""Search gives the ranking that evaluation scores."""

import numpy as np
import pytest

import siglip2
from siglip2.data.research import flickr8k_captions
from siglip2.evals.metrics.hits import retrieval_ranks
from siglip2.search.collection import Collection


@pytest.mark.parametrize(
    ("step", "captions_each"), [(5, 1), pytest.param(1, 5, marks=pytest.mark.slow, id="all captions")]
)
def test_flickr8k_as_evaluated(tmp_path, shared_data, step, captions_each):
    """The 1,000 test photos with `nano`: hit@k and the whole ranking of some captions, or of all 5,000."""
    try:
        encoder = siglip2.load("nano")
    except siglip2.errors.ModelNotFound:  # pyright: ignore[reportAttributeAccessIssue]
        pytest.skip("the bundled model is missing from this tree")
    photos, captions = flickr8k_captions(shared_data, "test")
    names = []
    for index, data in enumerate(photos):
        names.append(tmp_path / "photos" / f"{index:04}.jpg")
        names[-1].parent.mkdir(exist_ok=True)
        names[-1].write_bytes(data)
    chosen = np.repeat(np.arange(0, len(photos), step), captions_each)
    queries = [text for index in chosen[::captions_each] for text in captions[index]["en"][:captions_each]]
    images, texts = encoder.embed_images(names), encoder.embed_texts(queries)
    expected = retrieval_ranks(images, texts, chosen).text_to_image

    with Collection.open(tmp_path / "flickr", encoder) as collection:
        assert collection.add([tmp_path / "photos"]).embedded == len(photos)
        ranks = []
        for query, text, own in zip(queries, texts, chosen, strict=True):
            hits = collection.search(query, limit=len(photos), mode="exact")
            order = [int((hit.path or "")[-8:-4]) for hit in hits]
            # Same vectors, other order of additions: only cosines that differ by rounding may change places.
            assert np.all(np.diff((images @ text)[order]) < 1e-6)
            ranks.append(order.index(int(own)))
    for k in (1, 5, 10):
        assert sum(rank < k for rank in ranks) == (expected < k).sum()
