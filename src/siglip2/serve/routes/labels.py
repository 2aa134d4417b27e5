"""Labels of a request: their prompts, embeddings and how they rank."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.prompts import canonicalize, label_prompts, resolve_templates
from siglip2.serve.contents import TextInput, check_length, check_num_texts, check_texts
from siglip2.serve.errors import bad_request
from siglip2.serve.routes.shapes import Encoded, encode_texts
from siglip2.serve.service import Service
from siglip2.serve.settings import ServeSettings
from siglip2.similarity import to_unit_length

CHARACTERS_A_TEXT = 100
"""What remembering a text takes beyond its characters."""


@dataclass(frozen=True)
class Label:
    """A label and the texts that stand for it."""

    name: str
    prompts: tuple[str, ...]


def parse_labels(service: Service, labels: Sequence[Any], template: str | None, param: str) -> list[Label]:
    """Labels as strings, or as objects with prompts of their own.

    Args:
        service: whose limits hold.
        labels: as given.
        template: one with `{label}` or `{}`, or the name of a set; None for the usual one.
        param: where the labels stand in the request.

    Raises:
        ApiError: 400, for labels that are missing, empty, doubled or too many, or a bad template.
    """
    if not labels:
        raise bad_request("No labels given; send at least one.", param, "missing")
    if len(labels) > service.settings.max_texts:
        most = service.settings.max_texts
        raise bad_request(
            f"{len(labels)} labels; at most {most} go in one request.", param, "too_many_labels"
        )
    # Labels are mostly those of the request before; working out prompts takes longer than the towers do.
    key = (tuple(labels), template)
    known = service.labels.get(key)
    if known is not None:
        return list(known)
    check_length(service.settings, template or "", "template")
    try:
        templates = resolve_templates((template or "plain").replace("{label}", "{}"))
    except InvalidInput:
        raise bad_request("The template must hold {label} exactly once.", "template") from None
    _check_sizes(service.settings, labels, len(templates), param)
    parsed: dict[str, Label] = {}
    texts: list[TextInput] = []
    for index, value in enumerate(labels):
        place = f"{param}[{index}]"
        label = _label(value, templates, place)
        if label.name in parsed:
            raise bad_request("The label occurs twice.", place)
        parsed[label.name] = label
        texts += [TextInput(prompt, place) for prompt in label.prompts]
    check_texts(service.settings, texts, param)
    found = tuple(parsed.values())
    characters = sum(len(label.name) for label in found) + sum(len(text.text) for text in texts)
    service.labels.put(key, found, characters + CHARACTERS_A_TEXT * len(texts))
    return list(found)


async def encode_labels(service: Service, labels: Sequence[Label]) -> tuple[np.ndarray, Encoded]:
    """One unit vector per label, the mean of its prompts' as in `classify.ensemble_prompts`: (L, E)."""
    prompts = [prompt for label in labels for prompt in label.prompts]
    encoded = await encode_texts(service, prompts)
    if len(prompts) == len(labels):
        return encoded.embeddings, encoded
    ends = np.cumsum([len(label.prompts) for label in labels])
    parts = np.split(encoded.embeddings, ends[:-1])
    return to_unit_length(np.stack([part.mean(axis=0) for part in parts])), encoded


def num_prompts(labels: Sequence[Label]) -> int:
    """Texts to be embedded for labels."""
    return sum(len(label.prompts) for label in labels)


def rank(
    service: Service, images: np.ndarray, labels: Sequence[Label], vectors: np.ndarray, *, multi_label: bool
) -> list[list[dict[str, Any]]]:
    """Every label for every image, the best first.

    `probability` is the sigmoid of `logit`, whatever the other labels are. `score` is the softmax over the
    labels given, or the probability again when several may hold.
    """
    logits = service.engine.logits(images, vectors)
    probabilities = service.engine.probabilities(logits)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = probabilities if multi_label else exponentials / exponentials.sum(axis=1, keepdims=True)
    order = np.argsort(-logits, axis=1, kind="stable")
    names = np.array([label.name for label in labels], object)
    rankings: list[list[dict[str, Any]]] = []
    for row, indices in enumerate(order):
        # Whole columns at once: number by number a thousand labels would cost as much as the image.
        columns = zip(
            names[indices],
            scores[row, indices].tolist(),
            probabilities[row, indices].tolist(),
            logits[row, indices].tolist(),
            strict=True,
        )
        rankings.append(
            [
                {"label": name, "score": score, "probability": probability, "logit": logit}
                for name, score, probability, logit in columns
            ]
        )
    return rankings


def _check_sizes(settings: ServeSettings, labels: Sequence[Any], num_templates: int, param: str) -> None:
    """The limits of texts before there are any: making prompts takes far longer than counting them.

    Raises:
        ApiError: 400, for too many prompts, or a very long label or prompt.
    """
    number = 0
    for index, value in enumerate(labels):
        own = value.get("prompts") if isinstance(value, dict) else None
        prompts = own if isinstance(own, list) else () if own is None else (own,)
        number += num_templates if own is None else len(prompts)
        name = value.get("label") if isinstance(value, dict) else value
        for text in (name, *prompts[: settings.max_texts]):
            if isinstance(text, str):
                check_length(settings, text, f"{param}[{index}]")
    check_num_texts(settings, number, param)


def _label(value: Any, templates: tuple[str, ...], param: str) -> Label:
    name = value.get("label") if isinstance(value, dict) else value
    if not isinstance(name, str) or not name.strip():
        raise bad_request('A label is a string, or {"label": "...", "prompts": ["...", ...]}.', param)
    prompts = value.get("prompts") if isinstance(value, dict) else None
    if prompts is not None:
        own = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(own, list) or not own or not all(isinstance(text, str) for text in own):
            raise bad_request("The prompts of a label are a list of texts.", f"{param}.prompts")
        return Label(name, tuple(canonicalize(text, keep=",") for text in own))
    try:
        return Label(name, label_prompts(name, templates))
    except InvalidInput:
        raise bad_request(
            "Nothing of the label is left without its punctuation; give it prompts.", param
        ) from None
