"""Scores of a model on the research data: the table of docs/nano.md.

    python benchmarks/nano_scores.py --data DATA [--model nano] [--json FILE]

Zero-shot classification over the 200 classes of tiny_imagenet's val split (25 images each), and retrieval on
the Flickr8k test split (1,000 photographs squashed to squares) in six languages.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import tyro

import siglip2
from siglip2.data.research import flickr8k_captions, tiny_imagenet
from siglip2.evals.classification import top_k_accuracy
from siglip2.evals.retrieval import retrieval

LANGUAGES = ("en", "zh", "ar", "de", "fr_mt30k", "cs_mt30k")


def main(data: Path, model: str = "nano", json_file: Path | None = None) -> None:
    """Measure a model.

    Args:
        data: folder of the research data.
        model: what to measure.
        json_file: where to write the numbers.
    """
    encoder = siglip2.load(model)
    val = tiny_imagenet(data, 64, "val")
    names = dict(zip(val.classes.tolist(), (captions[0] for captions in val.captions), strict=True))
    labels = [names[index] for index in range(len(names))]
    images = encoder.embed_images(list(val.images), progress=True)
    results: dict[str, object] = {}
    for name, templates in {"plain": None, "clip8": "clip8", "clip81": "clip81"}.items():
        options = {} if templates is None else {"templates": templates}
        classifier = siglip2.ZeroShotClassifier(encoder, labels, **options)
        shares = top_k_accuracy(images, classifier.label_embeddings, val.classes)
        results[f"tiny_imagenet val, {name} template"] = {k: dataclasses.asdict(v) for k, v in shares.items()}
    photographs, captions = flickr8k_captions(data, "test")
    embeddings = encoder.embed_images(photographs, progress=True)
    for language in LANGUAGES:
        pairs = [(i, text) for i, entry in enumerate(captions) for text in entry.get(language, [])]
        texts = encoder.embed_texts([text for _, text in pairs])
        owners = np.array([index for index, _ in pairs])
        shown = np.unique(owners)
        result = retrieval(embeddings[shown], texts, np.searchsorted(shown, owners))
        results[f"flickr8k test {language}, {len(shown)} images, {len(pairs)} captions"] = {
            direction: {k: dataclasses.asdict(v) for k, v in shares.items()}
            for direction, shares in dataclasses.asdict(result).items()
            for shares in [getattr(result, direction)]
        }
    for name, result in results.items():
        print(name, json.dumps(result))
    if json_file:
        json_file.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
