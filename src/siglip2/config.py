"""The shape of a SigLIP 2 model, and the table of the published checkpoints.

Nothing here touches weights or arrays: a configuration is plain frozen data that every room of the
house can read. Names follow the paper (arXiv 2502.14786) and big_vision (`models/vit.py`).

Axes, here and everywhere: B images, T texts, N patches or tokens, D width, E embedding, V vocabulary.
"""

from dataclasses import dataclass, field
from typing import Literal

ImagePreset = Literal["transformers", "reference", "timm"]
"""How pixels reach the model's resolution.

`transformers`: Pillow's anti-aliased bilinear on 8-bit values. `reference`: big_vision's bilinear without
anti-aliasing, truncated to 8 bits (fixed resolution), or anti-aliased on floats (NaFlex).
`timm`: anti-aliased bicubic.
"""

Lowercase = Literal["ascii", "unicode", "none"]
"""Which letters of a text are lower-cased. The released models were trained with `ascii`."""


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Shape of the image tower.

    A fixed-resolution tower has `image_size` in pixels. A NaFlex tower has `image_size=None`, takes any
    grid of patches and resizes its `position_grid` x `position_grid` table to that grid.
    """

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    patch_size: int
    image_size: int | None
    position_grid: int
    num_channels: int = 3
    max_num_patches: int = 256
    """NaFlex only: the token budget used where the caller names none."""

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        if self.image_size is not None and self.image_size // self.patch_size != self.position_grid:
            raise ValueError(
                f"image_size {self.image_size} gives {self.image_size // self.patch_size} patches of "
                f"{self.patch_size} a side, but position_grid is {self.position_grid}"
            )

    @property
    def naflex(self) -> bool:
        """Whether the tower takes images of any aspect ratio."""
        return self.image_size is None

    @property
    def num_positions(self) -> int:
        """Rows of the position table."""
        return self.position_grid**2

    @property
    def patch_dim(self) -> int:
        """Numbers in one flattened patch, in the order (row, column, channel)."""
        return self.patch_size**2 * self.num_channels

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.num_heads

    @property
    def num_parameters(self) -> int:
        """Exact number of parameters, the pooling head included."""
        return _vision_parameters(self)


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Shape of the text tower. Every text is padded to exactly `context_length` tokens."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    vocab_size: int = 256_000
    context_length: int = 64

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.num_heads


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of the two-tower model. The image tower has no projection, so E is its width."""

    vision: VisionConfig
    text: TextConfig
    layer_norm_eps: float = 1e-6

    @property
    def embed_dim(self) -> int:
        """Width E of both embeddings."""
        return self.vision.width

    @property
    def num_parameters(self) -> int:
        """Exact number of parameters, scale and bias included."""
        return self.vision.num_parameters + _text_parameters(self.text, self.embed_dim) + 2


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What happens to images and texts before the towers; saved beside the weights."""

    image_preset: ImagePreset = "transformers"
    lowercase: Lowercase = "ascii"


@dataclass(frozen=True, kw_only=True)
class PublishedFigures:
    """Scores that the paper prints for a checkpoint, in percent (Table 1 and, for NaFlex, Table 7)."""

    imagenet: float
    coco_text_to_image: float
    coco_image_to_text: float


@dataclass(frozen=True, kw_only=True)
class PublishedCheckpoint:
    """One row of the table of released weights."""

    name: str
    """Last part of the hub id, without `siglip2-`."""
    big_vision_file: str
    config: ModelConfig
    figures: PublishedFigures | None = field(default=None)

    @property
    def hub_id(self) -> str:
        """Repository on the Hugging Face hub."""
        return f"google/siglip2-{self.name}"

    @property
    def model_type(self) -> Literal["siglip", "siglip2"]:
        """The `transformers` model type: only the two NaFlex checkpoints are `siglip2`."""
        return "siglip2" if self.config.vision.naflex else "siglip"


def _block_parameters(width: int, mlp_dim: int) -> int:
    attention = 4 * (width * width + width)
    mlp = 2 * width * mlp_dim + mlp_dim + width
    return attention + mlp + 4 * width


def _vision_parameters(vision: VisionConfig) -> int:
    embeddings = vision.patch_dim * vision.width + vision.width + vision.num_positions * vision.width
    trunk = vision.depth * _block_parameters(vision.width, vision.mlp_dim) + 2 * vision.width
    # The pooling head: a block with one layer norm instead of two, and the probe.
    head = _block_parameters(vision.width, vision.mlp_dim) - 2 * vision.width + vision.width
    return embeddings + trunk + head


def _text_parameters(text: TextConfig, embed_dim: int) -> int:
    embeddings = (text.vocab_size + text.context_length) * text.width
    trunk = text.depth * _block_parameters(text.width, text.mlp_dim) + 2 * text.width
    return embeddings + trunk + text.width * embed_dim + embed_dim


_SIZES: dict[str, dict[str, int]] = {
    # big_vision models/vit.py decode_variant
    "base": dict(width=768, depth=12, mlp_dim=3072, num_heads=12),
    "large": dict(width=1024, depth=24, mlp_dim=4096, num_heads=16),
    "so400m": dict(width=1152, depth=27, mlp_dim=4304, num_heads=16),
    "giant-opt": dict(width=1536, depth=40, mlp_dim=6144, num_heads=16),
}


def published_config(size: str, patch_size: int, image_size: int | None) -> ModelConfig:
    """The shape of a published model.

    Args:
        size: `base`, `large`, `so400m` or `giant-opt`.
        patch_size: side of a patch in pixels.
        image_size: side of the image in pixels, or None for NaFlex.
    """
    grid = 16 if image_size is None else image_size // patch_size
    # The giant image tower is paired with the So400m text tower, whose head projects 1152 -> 1536.
    text = _SIZES["so400m" if size == "giant-opt" else size]
    vision = VisionConfig(**_SIZES[size], patch_size=patch_size, image_size=image_size, position_grid=grid)
    return ModelConfig(vision=vision, text=TextConfig(**text))


def _published(
    size: str, patch_size: int, image_size: int | None, file: str, *figures: float
) -> PublishedCheckpoint:
    return PublishedCheckpoint(
        name=f"{size}-patch{patch_size}-{image_size or 'naflex'}",
        big_vision_file=f"siglip2_{file}.npz",
        config=published_config(size, patch_size, image_size),
        figures=PublishedFigures(
            imagenet=figures[0], coco_text_to_image=figures[1], coco_image_to_text=figures[2]
        ),
    )


# ImageNet top-1, COCO text-to-image R@1, COCO image-to-text R@1. NaFlex rows: 256 patches, Table 7.
PUBLISHED: tuple[PublishedCheckpoint, ...] = (
    _published("base", 32, 256, "b32_256", 74.0, 47.2, 63.7),
    _published("base", 16, 224, "b16_224", 78.2, 52.1, 68.9),
    _published("base", 16, 256, "b16_256", 79.1, 53.2, 69.7),
    _published("base", 16, 384, "b16_384", 80.6, 54.6, 71.4),
    _published("base", 16, 512, "b16_512", 81.2, 55.2, 71.2),
    _published("base", 16, None, "b16_naflex", 78.5, 51.1, 67.3),
    _published("large", 16, 256, "l16_256", 82.5, 54.7, 71.5),
    _published("large", 16, 384, "l16_384", 83.1, 55.3, 71.4),
    _published("large", 16, 512, "l16_512", 83.5, 55.2, 72.1),
    _published("so400m", 14, 224, "so400m14_224", 83.2, 55.1, 71.5),
    _published("so400m", 14, 384, "so400m14_384", 84.1, 55.8, 71.7),
    _published("so400m", 16, 256, "so400m16_256", 83.4, 55.4, 71.5),
    _published("so400m", 16, 384, "so400m16_384", 84.1, 56.0, 71.2),
    _published("so400m", 16, 512, "so400m16_512", 84.3, 56.0, 71.3),
    _published("so400m", 16, None, "so400m16_naflex", 83.5, 55.1, 71.2),
    _published("giant-opt", 16, 256, "g-opt16_256", 84.5, 55.7, 72.5),
    _published("giant-opt", 16, 384, "g-opt16_384", 85.0, 56.1, 72.8),
)

DEFAULT_MODEL = "google/siglip2-base-patch16-256"
