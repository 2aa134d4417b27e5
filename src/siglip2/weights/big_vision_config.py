"""The shape of a model from the shapes of big_vision's arrays, whose files hold no configuration."""

import re
from collections.abc import Mapping
from dataclasses import replace

from siglip2.config import PUBLISHED, ModelConfig, TextConfig, VisionConfig
from siglip2.errors import InvalidCheckpoint
from siglip2.weights.big_vision_names import BLOCKS
from siglip2.weights.shapes import Shape, nearest_names


def infer_config(shapes: Mapping[str, Shape], source: str) -> ModelConfig:
    """The configuration of a model.

    A fixed-resolution model is told from NaFlex by its patch kernel, (p, p, 3, D) against (p*p*3, D).
    Where it has the shape of a released model it gets that model's image size: the So400m/14 at 384 uses
    378 of its pixels a side, and only the name says so.

    Args:
        shapes: names without `params/` to shapes.
        source: path of the file, for messages.

    Raises:
        InvalidCheckpoint: an array that is needed is missing or has an impossible shape.
    """
    try:
        kernel = _shape(shapes, "img/embedding/kernel", source)
        positions = _shape(shapes, "img/pos_embedding", source)
        naflex = len(kernel) == 2
        patch_size = round((kernel[0] / 3) ** 0.5) if naflex else kernel[0]
        grid = positions[0] if naflex else round(positions[1] ** 0.5)
        config = ModelConfig(
            vision=VisionConfig(
                **_infer_tower(shapes, BLOCKS["img"], source),
                patch_size=patch_size,
                image_size=None if naflex else grid * patch_size,
                position_grid=grid,
            ),
            text=TextConfig(
                **_infer_tower(shapes, BLOCKS["txt"], source),
                vocab_size=_shape(shapes, "txt/Embed_0/embedding", source)[0],
                context_length=_shape(shapes, "txt/pos_embedding", source)[1],
            ),
        )
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise InvalidCheckpoint(f"{source} does not have the shapes of a SigLIP 2 model: {error}") from error
    return _as_published(config)


def stacked_towers(names: Mapping[str, object]) -> frozenset[str]:
    """The towers, `img` and `txt`, whose blocks are stacked along a first axis."""
    return frozenset(
        tower for tower, stem in BLOCKS.items() if any(name.startswith(f"{stem}/") for name in names)
    )


def _infer_tower(shapes: Mapping[str, Shape], stem: str, source: str) -> dict[str, int]:
    stacked = any(name.startswith(f"{stem}/") for name in shapes)
    first = stem if stacked else f"{stem}_0"
    query = _shape(shapes, f"{first}/MultiHeadDotProductAttention_0/query/kernel", source)
    blocks = {found[1] for name in shapes if (found := re.match(re.escape(stem) + r"_(\d+)/", name))}
    width, num_heads, _ = query[1:] if stacked else query
    return {
        "width": width,
        "depth": query[0] if stacked else len(blocks),
        "mlp_dim": _shape(shapes, f"{first}/MlpBlock_0/Dense_0/kernel", source)[-1],
        "num_heads": num_heads,
    }


def _shape(shapes: Mapping[str, Shape], name: str, source: str) -> Shape:
    if name not in shapes:
        near = nearest_names(name, list(shapes)) or "nothing like it"
        raise InvalidCheckpoint(f"{source} is no SigLIP 2 model: it has no array {name} (nearest: {near})")
    return shapes[name]


def _as_published(config: ModelConfig) -> ModelConfig:
    if config.vision.naflex:
        return config
    for published in PUBLISHED:
        size = published.config.vision.image_size
        if size is None or size // config.vision.patch_size != config.vision.position_grid:
            continue
        if published.config == replace(config, vision=replace(config.vision, image_size=size)):
            return published.config
    return config
