"""`siglip2 embed`: vectors of photos or texts, to a file."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from siglip2.cli.options import (
    DEFAULT_IMAGE_OPTIONS,
    DEFAULT_MODEL_OPTIONS,
    ImageOptions,
    ModelOptions,
    texts_of,
    wants_progress,
)
from siglip2.cli.photos import BrokenPhotos, find_photos
from siglip2.cli.vector_files import check_output, open_vector_file
from siglip2.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np

    from siglip2.encoder import Encoder


def embed(
    photos: tuple[str, ...] = (),
    *,
    output: Path,
    texts: tuple[str, ...] = (),
    texts_file: Path | None = None,
    model: ModelOptions = DEFAULT_MODEL_OPTIONS,
    image: ImageOptions = DEFAULT_IMAGE_OPTIONS,
) -> int:
    """Write the unit vectors of photos, or of texts, to a file.

    Args:
        photos: files, folders or patterns.
        output: .npz with arrays `names` and `embeddings`, or .parquet with columns `name` and `embedding`.
        texts: sentences, exactly as they stand.
        texts_file: more of them, one a line.
        model: which model.
        image: how images are fed.
    """
    sentences = texts_of(texts, texts_file)
    if bool(sentences) == bool(photos):
        raise InvalidInput("give either photos or --texts, and not both: one file holds one kind")
    check_output(output)
    names = sentences or find_photos(photos)
    encoder = model.load()
    broken = BrokenPhotos()
    parts = _embed_texts(encoder, sentences) if sentences else _embed_photos(encoder, names, broken, image)
    # Also when Ctrl-C ends the loop, the file is closed with what is finished.
    with open_vector_file(output, encoder.embed_dim, encoder.model_id, encoder.fingerprint) as file:
        for indices, embeddings in parts:
            file.add([names[index] for index in indices], embeddings)
    if file.num_rows:
        print(f"{file.num_rows} vectors of {encoder.embed_dim} numbers in {output}")
    return broken.report(len(names))


def _embed_photos(
    encoder: "Encoder", names: list[str], broken: BrokenPhotos, options: ImageOptions
) -> Iterator[tuple[list[int], "np.ndarray"]]:
    results = encoder.stream_images(names, progress=wants_progress(len(names)), **asdict(options))
    for part in results:
        broken.add(part.broken)
        yield part.indices.tolist(), part.embeddings


def _embed_texts(encoder: "Encoder", texts: list[str]) -> Iterator[tuple[list[int], "np.ndarray"]]:
    yield list(range(len(texts))), encoder.embed_texts(texts, progress=wants_progress(len(texts)))
