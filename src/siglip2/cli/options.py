"""Options that several commands share."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from siglip2.config import ImagePreset
from siglip2.errors import InvalidInput

if TYPE_CHECKING:
    from siglip2.encoder import Encoder

LONG_WORK = 16
"""From this many items on a progress bar is worth its lines."""


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How a model that is named elsewhere is found and run."""

    runtime: Literal["auto", "openvino", "torch"] = "auto"
    """What runs the towers."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Of the computation."""
    device: str | None = None
    """For torch: cpu, cuda, cuda:1, mps."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    offline: bool = False
    """Never ask the hub; use its local cache."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions(RuntimeOptions):
    """Which model runs, and how."""

    model: str | None = None
    """`nano`, a released name, a hub repository, a folder or a file. By default SIGLIP2_MODEL, or
    google/siglip2-base-patch16-256."""
    image_preset: ImagePreset | None = None
    """How pixels reach the model's resolution; as saved with the weights by default."""

    def load(self) -> "Encoder":
        """Load the model."""
        from siglip2.encoder import load

        return load(
            self.model,
            runtime=self.runtime,
            precision=self.precision,
            device=self.device,
            image_preset=self.image_preset,
            revision=self.revision,
            offline=self.offline,
        )


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are fed."""

    batch_size: int | None = None
    """Images per run of the tower."""
    max_num_patches: int | None = None
    """NaFlex models: the most patches of an image."""


DEFAULT_RUNTIME_OPTIONS = RuntimeOptions()
DEFAULT_MODEL_OPTIONS = ModelOptions()
DEFAULT_IMAGE_OPTIONS = ImageOptions()


def wants_progress(count: int) -> bool:
    """Whether a person watches work that takes a while."""
    return count > LONG_WORK and sys.stderr.isatty()


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        InvalidInput: it cannot be read as text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidInput(f"{path} cannot be read: {reason}") from error
    return [line for line in lines if line.strip()]


def texts_of(texts: Sequence[str], file: Path | None) -> list[str]:
    """Texts given as words and as lines of a file."""
    return [*texts, *(line.strip() for line in (read_lines(file) if file else ()))]
