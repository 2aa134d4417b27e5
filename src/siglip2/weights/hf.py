"""Hugging Face folders: model types `siglip` (patch convolution) and `siglip2` (linear patches).

The 15 fixed-resolution checkpoints of SigLIP 2 are published as `siglip`, the two NaFlex ones as `siglip2`.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from siglip2.config import ModelConfig, Preprocessing, TextConfig, VisionConfig
from siglip2.errors import InvalidCheckpoint
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.safetensors_file import read_safetensors, write_safetensors
from siglip2.weights.tensor import StoredTensor

PATCH_WEIGHT = "vision_model.embeddings.patch_embedding.weight"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")

# Older files carry the row numbers of the position tables; they are not weights.
_BUFFERS = ("vision_model.embeddings.position_ids", "text_model.embeddings.position_ids")
# What `transformers` fills in where a published config.json is silent.
_VISION_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "patch_size": 16,
    "layer_norm_eps": 1e-6,
}
_TEXT_DEFAULTS = _VISION_DEFAULTS | {"vocab_size": 32_000, "max_position_embeddings": 64}


def read_hf(folder: Path) -> Checkpoint:
    """Read a folder with `config.json` and one or several safetensors files.

    Raises:
        InvalidCheckpoint: something is missing or of the wrong shape; only pickled weights are there.
    """
    config = parse_config(_read_json(folder / "config.json"), folder)
    tensors = {name: tensor for name, tensor in _read_tensors(folder).items() if name not in _BUFFERS}
    if PATCH_WEIGHT in tensors:
        tensors[PATCH_WEIGHT] = linear_patch_weight(tensors[PATCH_WEIGHT])
    return Checkpoint(
        config=config,
        tensors=tensors,
        preprocessing=_read_preprocessing(folder),
        tokenizer=find_tokenizer(folder),
        source=str(folder),
    )


def write_hf(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `config.json`, `model.safetensors`, the preprocessing and the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(checkpoint.tensors)
    if checkpoint.model_type == "siglip":
        tensors[PATCH_WEIGHT] = convolution_patch_weight(tensors[PATCH_WEIGHT], checkpoint.config.vision)
    write_safetensors(folder / "model.safetensors", tensors)
    dtype = next(iter(tensors.values())).dtype
    _write_json(folder / "config.json", hf_config(checkpoint.config, dtype))
    _write_json(folder / "preprocessor_config.json", _preprocessor_config(checkpoint))
    if checkpoint.tokenizer is not None:
        for name in (checkpoint.tokenizer.name, *TOKENIZER_FILES[2:]):
            source = checkpoint.tokenizer.parent / name
            if source.exists() and source.parent.resolve() != folder.resolve():
                shutil.copy(source, folder / name)
        if not (folder / "tokenizer_config.json").exists():
            _write_json(folder / "tokenizer_config.json", _tokenizer_config(checkpoint))


def linear_patch_weight(weight: StoredTensor) -> StoredTensor:
    """(D, 3, p, p) to (D, p*p*3) in the order (row, column, channel); a linear one is left alone."""
    if len(weight.shape) != 4:
        return weight
    bits = weight.bits.transpose(0, 2, 3, 1)
    return StoredTensor(bits.reshape(len(bits), -1), weight.dtype)


def convolution_patch_weight(weight: StoredTensor, vision: VisionConfig) -> StoredTensor:
    """The inverse of `linear_patch_weight`."""
    patch = vision.patch_size
    bits = weight.bits.reshape(vision.width, patch, patch, vision.num_channels)
    return StoredTensor(bits.transpose(0, 3, 1, 2), weight.dtype)


def parse_config(content: Mapping[str, Any], folder: Path) -> ModelConfig:
    """The shape of a model from its `config.json`.

    Raises:
        InvalidCheckpoint: another model type.
    """
    model_type = content.get("model_type")
    if model_type not in ("siglip", "siglip2"):
        raise InvalidCheckpoint(
            f"{folder / 'config.json'} has model_type {model_type!r}; siglip and siglip2 are read here"
        )
    vision = _VISION_DEFAULTS | content.get("vision_config", {})
    text = _TEXT_DEFAULTS | content.get("text_config", {})
    patch_size = vision["patch_size"]
    if model_type == "siglip2":
        image_size, grid = None, round(vision.get("num_patches", 256) ** 0.5)
    else:
        image_size = vision.get("image_size", 224)
        grid = image_size // patch_size
    return ModelConfig(
        vision=VisionConfig(
            width=vision["hidden_size"],
            depth=vision["num_hidden_layers"],
            mlp_dim=vision["intermediate_size"],
            num_heads=vision["num_attention_heads"],
            patch_size=patch_size,
            image_size=image_size,
            position_grid=grid,
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


def hf_config(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """The `config.json` of a model, with every field that `transformers` would otherwise guess."""
    vision, text = config.vision, config.text
    common = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": config.layer_norm_eps}
    model_type = "siglip2" if vision.naflex else "siglip"
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
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
            **common,
        },
    }


def find_tokenizer(folder: Path) -> Path | None:
    """The vocabulary beside the weights, if there is one."""
    return next((folder / name for name in TOKENIZER_FILES[:2] if (folder / name).exists()), None)


def _read_tensors(folder: Path) -> dict[str, StoredTensor]:
    if (folder / INDEX).exists():
        files = sorted(set(_read_json(folder / INDEX)["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        pickled = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth"))
        hint = f"; {', '.join(pickled)} may hold code and is never opened" if pickled else ""
        raise InvalidCheckpoint(f"{folder} has no {', '.join(missing)}{hint}")
    tensors: dict[str, StoredTensor] = {}
    for name in files:
        tensors |= read_safetensors(folder / name)
    return tensors


def _read_preprocessing(folder: Path) -> Preprocessing:
    path = folder / "preprocessor_config.json"
    saved = _read_json(path).get("siglip2_preprocessing", {}) if path.exists() else {}
    return Preprocessing(**saved)


def _preprocessor_config(checkpoint: Checkpoint) -> dict[str, Any]:
    vision, preprocessing = checkpoint.config.vision, checkpoint.preprocessing
    content: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3 if preprocessing.image_preset == "timm" else 2,
        "siglip2_preprocessing": {
            "image_preset": preprocessing.image_preset,
            "lowercase": preprocessing.lowercase,
        },
    }
    if vision.naflex:
        return content | {
            "image_processor_type": "Siglip2ImageProcessor",
            "processor_class": "Siglip2Processor",
            "patch_size": vision.patch_size,
            "max_num_patches": vision.max_num_patches,
        }
    return content | {
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "SiglipProcessor",
        "size": {"height": vision.image_size, "width": vision.image_size},
    }


def _tokenizer_config(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "tokenizer_class": "Siglip2Tokenizer" if checkpoint.config.vision.naflex else "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
        "padding_side": "right",
        "model_max_length": checkpoint.config.text.context_length,
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidCheckpoint(f"{path.parent} has no {path.name}") from None
    except ValueError as error:
        raise InvalidCheckpoint(f"{path} is not valid JSON: {error}") from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
