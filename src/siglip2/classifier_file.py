"""A classifier's labels, settings and calibration as a JSON file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from siglip2.calibration import Calibration
from siglip2.errors import InvalidInput

_FORMAT = "siglip2 classifier 1"


@dataclass(frozen=True, kw_only=True)
class SavedClassifier:
    """What is kept of a classifier; label embeddings are made anew from the prompts.

    Attributes:
        prompts: labels, in their order, to their final texts.
        multi_label: whether several labels may hold for one image.
        threshold: probability that a label must reach.
        model: what the model was called.
        fingerprint: of the model; a calibration is good for that one only.
        calibration: fitted scale and bias.
    """

    prompts: Mapping[str, tuple[str, ...]]
    multi_label: bool
    threshold: float | None
    model: str
    fingerprint: str
    calibration: Calibration | None


def write_classifier(path: Path, saved: SavedClassifier) -> None:
    """Write a file, which appears under its name when it is complete."""
    partial = path.with_name(path.name + ".partial")
    content = {"format": _FORMAT, **asdict(saved)}
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def read_classifier(path: Path) -> SavedClassifier:
    """Read a file.

    Raises:
        InvalidInput: there is none, or it is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise ValueError("another format")
        fitted = content.pop("calibration")
        prompts = {str(label): tuple(map(str, texts)) for label, texts in content.pop("prompts").items()}
        calibration = None if fitted is None else Calibration(**fitted)
        return SavedClassifier(prompts=prompts, calibration=calibration, **content)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{path} is not a classifier that `save` wrote: {error}") from error
