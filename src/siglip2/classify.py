"""Classify images with labels of the user's choosing, without training."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from siglip2.calibration import Calibration, fit_calibration
from siglip2.classifier_file import SavedClassifier, read_classifier, write_classifier
from siglip2.encoder import Encoder
from siglip2.errors import InvalidImage, InvalidInput
from siglip2.inputs.sources import ImageSource
from siglip2.pipeline import BrokenImage
from siglip2.prompts import canonicalize as canonical_form
from siglip2.prompts import label_prompts, resolve_templates
from siglip2.similarity import sigmoid, to_unit_length

NONE_OF_THESE = "none of these"
"""Label of the explicit answer that no given label reaches the threshold."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the classifier thinks of one label for one image.

    Attributes:
        label: as the user gave it.
        logit: exp(t) * cosine + b.
        probability: the logit's sigmoid: whether this label holds, whatever the other labels are.
        score: softmax of the logits over the labels given: the label's share, which sums to 1 even where
            nothing fits. The probability when the classifier is `multi_label`.
    """

    label: str
    logit: float
    probability: float
    score: float


@dataclass(frozen=True, kw_only=True)
class ClassifiedImages:
    """A batch of results of `ZeroShotClassifier.stream`.

    Attributes:
        indices: positions in the input of the entries of `predictions`.
        predictions: one ranking per image.
        broken: images of this stretch of the input that could not be used.
    """

    indices: tuple[int, ...]
    predictions: tuple[list[Prediction], ...]
    broken: tuple[BrokenImage, ...]


class ZeroShotClassifier:
    """Labels, embedded once, and compared with any number of images. Safe to call from several threads.

    Attributes:
        encoder: the model.
        labels: L labels, as given.
        prompts: the texts that stand for each label.
        multi_label: whether several labels may hold for one image.
        threshold: probability below which a label does not hold; None accepts the best one in any case.
        logit_scale: the model's, or the calibrated one.
        logit_bias: the model's, or the calibrated one.
        calibration: what `calibrate` fitted, if it was called.
    """

    def __init__(
        self,
        encoder: Encoder,
        labels: Sequence[str],
        *,
        templates: str | Sequence[str] = "plain",
        prompts: Mapping[str, str | Sequence[str]] | None = None,
        multi_label: bool = False,
        threshold: float | None = None,
        canonicalize: bool = True,
    ):
        """Choose labels.

        Args:
            encoder: the model.
            labels: what to look for, in the user's words.
            templates: `plain` ("a photo of a {}."), CLIP's `clip8` or `clip81`, one template, or several,
                whose embeddings are averaged.
            prompts: own complete texts for some of the labels; templates are not applied to them.
            multi_label: several labels may hold for one image.
            threshold: probability that a label must reach; see `classify`.
            canonicalize: bring prompts into the form in which the reference evaluates: lower case without
                punctuation. Turn it off for labels where these carry meaning.

        Raises:
            InvalidInput: no labels, empty ones, several that become the same text, a template without `{}`,
                prompts for no label, a threshold outside of 0..1.
        """
        if isinstance(labels, str):
            raise InvalidInput(f"expected several labels, got the single string {labels!r}: put it in a list")
        if threshold is not None and not 0 <= threshold <= 1:
            raise InvalidInput(f"threshold {threshold} is a probability and must be between 0 and 1")
        self.encoder = encoder
        self.labels = _checked_labels(labels)
        self.prompts = _prompts_of(self.labels, resolve_templates(templates), prompts or {}, canonicalize)
        self.multi_label = multi_label
        self.threshold = threshold
        self.calibration: Calibration | None = None
        self._embeddings: np.ndarray | None = None
        self._lock = threading.Lock()

    @property
    def logit_scale(self) -> float:
        """Factor of the cosine in a logit."""
        return (self.calibration or self.encoder).logit_scale

    @property
    def logit_bias(self) -> float:
        """What is added to the scaled cosine."""
        return (self.calibration or self.encoder).logit_bias

    @property
    def label_embeddings(self) -> np.ndarray:
        """(L, E) float32 of unit length; computed when first needed."""
        return self.embed_labels()

    def embed_labels(self) -> np.ndarray:
        """Embed the labels now and not with the first image; gives `label_embeddings`."""
        with self._lock:
            if self._embeddings is None:
                self._embeddings = ensemble_prompts(self.encoder, list(self.prompts.values()))
            return self._embeddings

    def classify(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int | None = None,
        batch_size: int | None = None,
        progress: bool = False,
        max_num_patches: int | None = None,
    ) -> list[list[Prediction]]:
        """Rank the labels for each image.

        With a threshold the answer `NONE_OF_THESE` comes first where no label's probability reaches it, and
        the labels follow; a `multi_label` classifier returns those that reach it, or that answer alone.

        Args:
            images: as in `Encoder.embed_images`.
            top_k: entries to return per image; None for all.
            batch_size: images per run of the tower.
            progress: show a bar on standard error.
            max_num_patches: NaFlex only, the token budget of an image.

        Returns:
            For every image its predictions, the best first.

        Raises:
            InvalidImage: an image cannot be used.
        """
        results: list[list[Prediction]] = []
        for part in self.stream(
            images, top_k=top_k, batch_size=batch_size, progress=progress, max_num_patches=max_num_patches
        ):
            if part.broken:
                raise InvalidImage(part.broken[0].reason)
            results.extend(part.predictions)
        return results

    def stream(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int | None = None,
        batch_size: int | None = None,
        progress: bool = False,
        max_num_patches: int | None = None,
    ) -> Iterator[ClassifiedImages]:
        """Classify batch by batch, in constant memory.

        Unusable images are reported in the results, not raised. Arguments as in `classify`.
        """
        _check_top_k(top_k)
        for part in self.encoder.stream_images(
            images, batch_size=batch_size, progress=progress, max_num_patches=max_num_patches
        ):
            yield ClassifiedImages(
                indices=tuple(part.indices.tolist()),
                predictions=tuple(self.rank(part.embeddings, top_k=top_k)),
                broken=part.broken,
            )

    def rank(self, embeddings: np.ndarray, *, top_k: int | None = None) -> list[list[Prediction]]:
        """Rank the labels for images that are embedded already.

        Args:
            embeddings: (B, E) of unit length.
            top_k: entries to return per image; None for all.
        """
        _check_top_k(top_k)
        logit = self.logit_scale * (embeddings @ self.label_embeddings.T) + np.float32(self.logit_bias)
        probability = sigmoid(logit)
        score = probability if self.multi_label else _softmax(logit)
        order = np.argsort(-logit, axis=1, kind="stable")
        return [self._ranking(*row)[:top_k] for row in zip(order, logit, probability, score, strict=True)]

    def calibrate(
        self, images: Iterable[ImageSource], labels: Iterable[str | Iterable[str]], *, progress: bool = False
    ) -> Calibration:
        """Fit scale and bias to labelled examples, and use them from now on. Five examples are a start.

        Args:
            images: B images, as in `Encoder.embed_images`.
            labels: for each image its label, or all of its labels, of which there may be none.
            progress: show a bar on standard error.

        Raises:
            InvalidImage: an image cannot be used.
            InvalidInput: an unknown label, numbers that differ, or labels that contradict the model.
        """
        embeddings = self.encoder.embed_images(images, progress=progress)
        target = self._targets(labels)
        if len(target) != len(embeddings):
            raise InvalidInput(f"{len(embeddings)} images need as many labels, got {len(target)}")
        self.calibration = fit_calibration(
            embeddings @ self.label_embeddings.T,
            target,
            logit_scale=self.encoder.logit_scale,
            logit_bias=self.encoder.logit_bias,
        )
        return self.calibration

    def save(self, path: str | Path) -> None:
        """Write labels, prompts, settings and calibration as JSON."""
        saved = SavedClassifier(
            prompts=self.prompts,
            multi_label=self.multi_label,
            threshold=self.threshold,
            model=self.encoder.model_id,
            fingerprint=self.encoder.fingerprint,
            calibration=self.calibration,
        )
        write_classifier(Path(path), saved)

    @classmethod
    def load(cls, path: str | Path, encoder: Encoder) -> "ZeroShotClassifier":
        """Read what `save` wrote.

        Args:
            path: the file.
            encoder: the model; where the file holds a calibration, the one it was fitted with.

        Raises:
            InvalidInput: not such a file, or a calibration that belongs to another model.
        """
        saved = read_classifier(Path(path))
        if saved.calibration is not None and saved.fingerprint != encoder.fingerprint:
            raise InvalidInput(
                f"{path} was calibrated with {saved.model} ({saved.fingerprint}), but the model here is "
                f"{encoder.model_id} ({encoder.fingerprint}): load that one, or calibrate again"
            )
        classifier = cls(
            encoder,
            list(saved.prompts),
            prompts=saved.prompts,
            multi_label=saved.multi_label,
            threshold=saved.threshold,
            canonicalize=False,  # the saved prompts are in their final form
        )
        classifier.calibration = saved.calibration
        return classifier

    def _ranking(
        self, order: np.ndarray, logit: np.ndarray, probability: np.ndarray, score: np.ndarray
    ) -> list[Prediction]:
        ranking = [
            Prediction(
                label=self.labels[index],
                logit=float(logit[index]),
                probability=float(probability[index]),
                score=float(score[index]),
            )
            for index in order.tolist()
        ]
        if self.threshold is None:
            return ranking
        holding = [prediction for prediction in ranking if prediction.probability >= self.threshold]
        if not holding:
            return [_none_of_these(logit), *([] if self.multi_label else ranking)]
        return holding if self.multi_label else ranking

    def _targets(self, labels: Iterable[str | Iterable[str]]) -> np.ndarray:
        column = {label: index for index, label in enumerate(self.labels)}
        rows: list[np.ndarray] = []
        for entry in labels:
            row = np.zeros(len(self.labels), bool)
            for label in [entry] if isinstance(entry, str) else entry:
                if label not in column:
                    raise InvalidInput(f"label {label!r} is not one of {_listed(self.labels)}")
                row[column[label]] = True
            rows.append(row)
        return np.array(rows).reshape(len(rows), len(self.labels))


def ensemble_prompts(encoder: Encoder, prompts: Sequence[Sequence[str]]) -> np.ndarray:
    """One embedding per class: the mean of its prompts' unit vectors, brought back to unit length.

    Source: big_vision `evaluators/proj/image_text/discriminative_classifier.py`.

    Args:
        encoder: the model.
        prompts: at least one text for each of L classes.

    Returns:
        (L, E) float32 of unit length.
    """
    embeddings = encoder.embed_texts([prompt for own in prompts for prompt in own])
    bounds = np.cumsum([0, *(len(own) for own in prompts)])
    return to_unit_length(np.stack([embeddings[start:end].mean(axis=0) for start, end in pairwise(bounds)]))


def _none_of_these(logit: np.ndarray) -> Prediction:
    """The probability that no label holds, if each were independent of the others: the product of 1 - p."""
    log_probability = -float(np.logaddexp(0, logit.astype(np.float64)).sum())
    log_probability = min(log_probability, -1e-300)  # keeps the logit finite where every label is absurd
    probability = float(np.exp(log_probability))
    odds = log_probability - float(np.log(-np.expm1(log_probability)))
    return Prediction(label=NONE_OF_THESE, logit=odds, probability=probability, score=probability)


def _softmax(logit: np.ndarray) -> np.ndarray:
    exponential = np.exp(logit - logit.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


def _checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    if not len(labels):
        raise InvalidInput('no labels given; give at least one, such as "a cat"')
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise InvalidInput(f"label {label!r} is empty or no text; every label needs a name")
    return tuple(labels)


def _prompts_of(
    labels: tuple[str, ...],
    templates: tuple[str, ...],
    own: Mapping[str, str | Sequence[str]],
    canonicalize: bool,
) -> dict[str, tuple[str, ...]]:
    unknown = [label for label in own if label not in labels]
    if unknown:
        raise InvalidInput(f"prompts are given for {unknown[0]!r}, which is not one of {_listed(labels)}")
    prompts: dict[str, tuple[str, ...]] = {}
    seen: dict[tuple[str, ...], str] = {}
    for label in labels:
        if label in own:
            texts = _own_prompts(label, own[label], canonicalize)
        else:
            texts = label_prompts(label, templates, canonical=canonicalize)
        if texts in seen:
            raise InvalidInput(
                f"labels {seen[texts]!r} and {label!r} stand for the same text, {texts[0]!r}: "
                "leave one out, or give them prompts that differ"
            )
        seen[texts] = label
        prompts[label] = texts
    return prompts


def _own_prompts(label: str, prompts: str | Sequence[str], canonicalize: bool) -> tuple[str, ...]:
    texts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    if canonicalize:
        texts = tuple(canonical_form(text, keep=",") for text in texts)
    if not texts or not all(text.strip() for text in texts):
        raise InvalidInput(f"the prompts of label {label!r} are empty; give at least one sentence")
    return texts


def _check_top_k(top_k: int | None) -> None:
    if top_k is not None and top_k < 1:
        raise InvalidInput(f"top_k is {top_k}; it must be at least 1")


def _listed(labels: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(label) for label in labels[:most])
    return f"{shown} and {len(labels) - most} more" if len(labels) > most else shown
