"""The switches of an evaluation that move its numbers, the paper's setting of each, and what deviates.

Users of every peer fail to reproduce published numbers over exactly these switches, so that a run names each
one that is not the paper's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

from siglip2.config import ImagePreset, Lowercase
from siglip2.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a model is measured.

    Attributes:
        templates: prompts of a class: `clip81`, `clip8`, `plain`, or one template of the caller's. Data sets
            that bring their own templates use those under `clip81` and `clip8`.
        canonicalize: bring class names and templates into the reference evaluator's form.
        lowercase: letters of captions and prompts that the tokenizer lower-cases.
        image_preset: how pixels reach the model's resolution.
        ties: whether a wrong answer of the same score stands in front of the right one (`against`), or
            whatever comes first in the corpus (`order`).
        precision: of the towers' arithmetic.
    """

    templates: str = "clip81"
    canonicalize: bool = True
    lowercase: Lowercase = "ascii"
    image_preset: ImagePreset = "reference"
    ties: Literal["against", "order"] = "against"
    precision: str = "float32"


PAPER = Protocol()
"""big_vision's evaluators: 81 templates in canonical form, lower case, its own bilinear resize to a square.

The paper does not say: the exact test preprocessing of the SigLIP 2 checkpoints; the demo of big_vision
squashes the whole image, and so does this. Ties are left to chance there; here they count against the model.
"""

_REASONS = {
    "templates": "one plain prompt instead of CLIP's templates costs about a point of ImageNet accuracy",
    "canonicalize": "the reference drops punctuation and case from names and templates",
    "lowercase": "captions that are not lower-cased cost three points of COCO retrieval",
    "image_preset": "another resize moves results by tenths of a point",
    "precision": "another arithmetic than that of the reference moves results by tenths of a point",
    "ties": "ties in the order of the corpus flatter a model that cannot tell its answers apart",
}


@dataclass(frozen=True)
class Deviation:
    """One switch that is not the paper's."""

    switch: str
    value: object
    paper: object

    def __str__(self) -> str:
        return f"{self.switch} is {self.value!r}, in the paper {self.paper!r}: {_REASONS[self.switch]}"


def deviations(protocol: Protocol) -> list[Deviation]:
    """Every switch of a protocol that differs from the paper's."""
    return [
        Deviation(field.name, value, paper)
        for field in fields(Protocol)
        if (value := getattr(protocol, field.name)) != (paper := getattr(PAPER, field.name))
    ]


def single_switches(protocol: Protocol) -> Iterator[tuple[str, Protocol]]:
    """The protocol with one deviating switch at a time put back to the paper's value."""
    for deviation in deviations(protocol):
        yield deviation.switch, replace(protocol, **{deviation.switch: deviation.paper})


def with_encoder(protocol: Protocol, encoder: Encoder) -> Protocol:
    """The protocol that an opened encoder really follows: its own case, pixels and arithmetic."""
    return replace(
        protocol,
        lowercase=encoder.lowercase,
        image_preset=encoder.image_preset,
        precision=encoder.runtime.precision,
    )
