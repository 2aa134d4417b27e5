"""`config.json` of `transformers`, read and written.

The 15 fixed-resolution checkpoints of SigLIP 2 are published as model type `siglip`, the two NaFlex ones as
`siglip2`. Published files state only what differs from the defaults of the `transformers` classes.
"""

from collections.abc import Mapping
from typing import Any

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.errors import InvalidCheckpoint
from siglip2.weights.json_file import member
from siglip2.weights.tensor import DType

_TOWER_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
_VISION_DEFAULTS = _TOWER_DEFAULTS | {
    "patch_size": 16,
    "num_channels": 3,
    "image_size": 224,
    "num_patches": 256,
    "vision_use_head": True,
}
_TEXT_DEFAULTS = _TOWER_DEFAULTS | {
    "vocab_size": 32_000,
    "max_position_embeddings": 64,
    "projection_size": None,
}

_COUNTS = {
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "patch_size",
    "num_channels",
    "image_size",
    "num_patches",
    "vocab_size",
    "max_position_embeddings",
}
MOST_LAYERS = 1_000
"""Far beyond any model; a file that names millions would have their tensors' names made up for minutes."""


def parse_config(content: Mapping[str, Any], source: str) -> ModelConfig:
    """The shape of a model from its `config.json`.

    Args:
        content: the parsed file; either tower's part may be short or missing.
        source: path of the file, for messages.

    Raises:
        InvalidCheckpoint: another model type, or a shape that no SigLIP 2 model has.
    """
    model_type = content.get("model_type")
    if model_type not in ("siglip", "siglip2"):
        raise InvalidCheckpoint(f"{source} has model_type {model_type!r}; siglip and siglip2 are read here")
    vision, text = (
        defaults | member(content, key, source)
        for key, defaults in (("vision_config", _VISION_DEFAULTS), ("text_config", _TEXT_DEFAULTS))
    )
    for part, tower in (("vision_config", vision), ("text_config", text)):
        unused = {"image_size"} if model_type == "siglip2" else {"num_patches"}
        for key in sorted(_COUNTS & tower.keys() - unused):
            if type(tower[key]) is not int or tower[key] < 1:
                raise InvalidCheckpoint(
                    f"{source}: {part}.{key} is {tower[key]!r}, expected a whole number from 1"
                )
        if tower["num_hidden_layers"] > MOST_LAYERS:
            raise InvalidCheckpoint(
                f"{source}: {part}.num_hidden_layers is {tower['num_hidden_layers']}, expected "
                f"{MOST_LAYERS} at most"
            )
    _refuse_variants(vision, text, source)
    naflex = model_type == "siglip2"
    try:
        return ModelConfig(
            vision=VisionConfig(
                width=vision["hidden_size"],
                depth=vision["num_hidden_layers"],
                mlp_dim=vision["intermediate_size"],
                num_heads=vision["num_attention_heads"],
                patch_size=vision["patch_size"],
                image_size=None if naflex else vision["image_size"],
                position_grid=_grid(vision, naflex, source),
                num_channels=vision["num_channels"],
            ),
            text=TextConfig(
                width=text["hidden_size"],
                depth=text["num_hidden_layers"],
                mlp_dim=text["intermediate_size"],
                num_heads=text["num_attention_heads"],
                vocab_size=text["vocab_size"],
                context_length=text["max_position_embeddings"],
            ),
            layer_norm_eps=vision["layer_norm_eps"],
        )
    except (TypeError, ValueError) as error:
        raise InvalidCheckpoint(f"{source}: {error}") from error


def write_config(config: ModelConfig, dtype: DType) -> dict[str, Any]:
    """The `config.json` of a model, with every field that `transformers` would otherwise guess."""
    vision, text = config.vision, config.text
    model_type = "siglip2" if vision.naflex else "siglip"
    common = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": config.layer_norm_eps}
    resolution = {"num_patches": vision.num_positions} if vision.naflex else {"image_size": vision.image_size}
    return {
        "model_type": model_type,
        "architectures": ["Siglip2Model" if vision.naflex else "SiglipModel"],
        "dtype": dtype,
        "vision_config": {
            "model_type": f"{model_type}_vision_model",
            "hidden_size": vision.width,
            "num_hidden_layers": vision.depth,
            "intermediate_size": vision.mlp_dim,
            "num_attention_heads": vision.num_heads,
            "num_channels": vision.num_channels,
            "patch_size": vision.patch_size,
            **resolution,
            **common,
        },
        "text_config": {
            "model_type": f"{model_type}_text_model",
            "hidden_size": text.width,
            "num_hidden_layers": text.depth,
            "intermediate_size": text.mlp_dim,
            "num_attention_heads": text.num_heads,
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.context_length,
            "projection_size": config.embed_dim,
            # The classes' own defaults are those of another vocabulary.
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
            **common,
        },
    }


def _grid(vision: Mapping[str, Any], naflex: bool, source: str) -> int:
    if not naflex:
        return vision["image_size"] // vision["patch_size"]
    grid = round(vision["num_patches"] ** 0.5)
    if grid**2 != vision["num_patches"]:
        raise InvalidCheckpoint(f"{source}: num_patches {vision['num_patches']} is no square number")
    return grid


def _refuse_variants(vision: Mapping[str, Any], text: Mapping[str, Any], source: str) -> None:
    """Settings that `transformers` knows, but that no released model uses and the towers here have not."""
    for part, tower in (("vision_config", vision), ("text_config", text)):
        if tower["hidden_act"] != "gelu_pytorch_tanh":
            raise InvalidCheckpoint(
                f"{source}: {part}.hidden_act is {tower['hidden_act']!r}, SigLIP 2 has 'gelu_pytorch_tanh'"
            )
    if text["layer_norm_eps"] != vision["layer_norm_eps"]:
        raise InvalidCheckpoint(f"{source}: the towers differ in layer_norm_eps, SigLIP 2's do not")
    if not vision["vision_use_head"]:
        raise InvalidCheckpoint(f"{source}: vision_use_head is false, but SigLIP 2 pools with its head")
    projection = text["projection_size"] or text["hidden_size"]
    if projection != vision["hidden_size"]:
        raise InvalidCheckpoint(
            f"{source}: texts are projected to {projection}, images to {vision['hidden_size']}: "
            "text_config.projection_size has to be vision_config.hidden_size"
        )
