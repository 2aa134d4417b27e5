"""`siglip2 classify`: which of your labels fit photos."""

from dataclasses import asdict
from pathlib import Path

from siglip2.cli.options import (
    DEFAULT_IMAGE_OPTIONS,
    DEFAULT_MODEL_OPTIONS,
    ImageOptions,
    ModelOptions,
    read_lines,
    wants_progress,
)
from siglip2.cli.output import Columns, open_writer
from siglip2.cli.photos import BrokenPhotos, find_photos
from siglip2.errors import InvalidInput

COLUMNS = Columns(
    names=("photo", "label", "score", "probability", "logit"),
    bar="score",
    shares=("score", "probability"),
    list_name="predictions",
)


def classify(
    photos: tuple[str, ...],
    *,
    labels: tuple[str, ...] = (),
    labels_file: Path | None = None,
    classifier: Path | None = None,
    template: tuple[str, ...] = (),
    top_k: int | None = None,
    multi_label: bool = False,
    threshold: float | None = None,
    json: bool = False,
    csv: bool = False,
    model: ModelOptions = DEFAULT_MODEL_OPTIONS,
    image: ImageOptions = DEFAULT_IMAGE_OPTIONS,
) -> int:
    """Say which of your labels fit photos.

    Every label gets a logit, a probability (whether it holds, whatever the other labels are) and a score (its
    share among the labels given; the probability with --multi-label).

    Args:
        photos: files, folders or patterns.
        labels: what to look for, such as "a cat" "a dog".
        labels_file: more labels, one a line; after a tab may follow own prompts for it.
        classifier: file of a saved classifier, with its labels and calibration.
        template: plain, clip8, clip81, or own templates such as "a drawing of a {}".
        top_k: how many labels to show for a photo.
        multi_label: several labels may hold for one photo.
        threshold: probability below which a label does not hold; gives "none of these".
        json: print one JSON object a line.
        csv: print comma-separated values.
        model: which model.
        image: how images are fed.
    """
    found = find_photos(photos)
    prompts = _read_labels(labels, labels_file)
    if not prompts and classifier is None:
        raise InvalidInput('give labels: --labels "a cat" "a dog", or --labels-file FILE')
    if classifier is not None and (prompts or template or multi_label or threshold is not None):
        raise InvalidInput(
            "--classifier brings its own labels, templates and threshold: give nothing beside it"
        )

    from siglip2.classify import NONE_OF_THESE, ZeroShotClassifier

    encoder = model.load()
    if classifier is not None:
        ready = ZeroShotClassifier.load(classifier, encoder)
    else:
        ready = ZeroShotClassifier(
            encoder,
            list(prompts),
            templates=_templates(template),
            prompts={label: own for label, own in prompts.items() if own},
            multi_label=multi_label,
            threshold=threshold,
        )
    ready.embed_labels()
    encoder.release_text_tower()  # only photos come now
    results = ready.stream(
        found,
        top_k=top_k,
        progress=wants_progress(len(found)),
        **asdict(image),
    )
    writer = open_writer(COLUMNS, as_json=json, as_csv=csv, texts=[*ready.labels, NONE_OF_THESE])
    broken = BrokenPhotos()
    for part in results:
        for index, predictions in zip(part.indices, part.predictions, strict=True):
            writer.write(found[index], [asdict(prediction) for prediction in predictions])
        broken.add(part.broken)
    return broken.report(len(found))


def _templates(template: tuple[str, ...]) -> str | tuple[str, ...]:
    if not template:
        return "plain"
    return template[0] if len(template) == 1 else template


def _read_labels(labels: tuple[str, ...], file: Path | None) -> dict[str, list[str]]:
    """Labels to their own prompts, which are empty where templates make them."""
    entries = [[label] for label in labels]
    if file is not None:
        entries += [line.split("\t") for line in read_lines(file)]
    prompts: dict[str, list[str]] = {}
    for label, *own in entries:
        label = label.strip()
        if label in prompts:
            raise InvalidInput(f"label {label!r} is given twice")
        prompts[label] = [prompt.strip() for prompt in own if prompt.strip()]
    return prompts
