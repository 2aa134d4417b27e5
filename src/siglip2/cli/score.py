"""`siglip2 score`: photos against texts, pair by pair."""

from dataclasses import asdict
from pathlib import Path

from siglip2.cli.options import (
    DEFAULT_IMAGE_OPTIONS,
    DEFAULT_MODEL_OPTIONS,
    ImageOptions,
    ModelOptions,
    texts_of,
    wants_progress,
)
from siglip2.cli.output import Columns, open_writer
from siglip2.cli.photos import BrokenPhotos, find_photos
from siglip2.errors import InvalidInput

COLUMNS = Columns(
    names=("photo", "text", "probability", "logit"),
    bar="probability",
    shares=("probability",),
    list_name="scores",
)


def score(
    photos: tuple[str, ...],
    *,
    texts: tuple[str, ...] = (),
    texts_file: Path | None = None,
    json: bool = False,
    csv: bool = False,
    model: ModelOptions = DEFAULT_MODEL_OPTIONS,
    image: ImageOptions = DEFAULT_IMAGE_OPTIONS,
) -> int:
    """Compare every photo with every text, exactly as it stands.

    Args:
        photos: files, folders or patterns.
        texts: sentences.
        texts_file: more of them, one a line.
        json: print one JSON object a line.
        csv: print comma-separated values.
        model: which model.
        image: how images are fed.
    """
    found = find_photos(photos)
    sentences = texts_of(texts, texts_file)
    if not sentences:
        raise InvalidInput('give texts: --texts "a cat on a sofa", or --texts-file FILE')

    import numpy as np

    from siglip2.similarity import sigmoid

    encoder = model.load()
    embedded = encoder.embed_texts(sentences)
    encoder.release_text_tower()  # only photos come now
    writer = open_writer(COLUMNS, as_json=json, as_csv=csv, texts=sentences)
    broken = BrokenPhotos()
    results = encoder.stream_images(found, progress=wants_progress(len(found)), **asdict(image))
    for part in results:
        logits = encoder.logit_scale * (part.embeddings @ embedded.T) + np.float32(encoder.logit_bias)
        for index, logit in zip(part.indices.tolist(), logits, strict=True):
            pairs = zip(sentences, sigmoid(logit).tolist(), logit.tolist(), strict=True)
            rows = [dict(zip(COLUMNS.names[1:], pair, strict=True)) for pair in pairs]
            writer.write(found[index], rows)
        broken.add(part.broken)
    return broken.report(len(found))
