"""Preprocessing and vocabulary beside the weights, in files that `transformers` reads as well."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from siglip2.config import ImagePreset, Lowercase, ModelConfig, Preprocessing
from siglip2.errors import InvalidCheckpoint
from siglip2.weights.json_file import member, read_json, write_json

PREPROCESSOR_FILE = "preprocessor_config.json"
_KEY = "siglip2_preprocessing"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
# Pillow's numbers for ways to resample.
_BILINEAR, _BICUBIC = 2, 3


def find_tokenizer(folder: Path) -> Path | None:
    """The vocabulary in a folder, if there is one."""
    return next((folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()), None)


def read_preprocessing(folder: Path) -> Preprocessing:
    """What the model of a folder expects of its inputs.

    This project's own key decides. Without it, `resample` of `transformers` does: bilinear is the preset
    `transformers`, bicubic is `timm`. Without a file, the defaults hold.

    Raises:
        InvalidCheckpoint: unknown values, or images normalised otherwise than to [-1, 1].
    """
    path = folder / PREPROCESSOR_FILE
    if not path.is_file():
        return Preprocessing()
    content = read_json(path)
    for key in ("image_mean", "image_std"):
        given = content.get(key) or ()
        if any(value != 0.5 for value in (given if isinstance(given, list | tuple) else [given])):
            raise InvalidCheckpoint(f"{path}: {key} is {content[key]}, SigLIP 2 has 0.5 for every channel")
    if _KEY in content:
        return _parse(member(content, _KEY, path), path)
    resample = content.get("resample", _BILINEAR)
    if resample not in (_BILINEAR, _BICUBIC):
        raise InvalidCheckpoint(f"{path}: resample is {resample}, expected 2 (bilinear) or 3 (bicubic)")
    return Preprocessing(image_preset="timm" if resample == _BICUBIC else "transformers")


def with_saved_size(config: ModelConfig, folder: Path) -> ModelConfig:
    """Complete a shape with what only the preprocessor file tells.

    That is the token budget of NaFlex, and the image size where the last pixels fill no patch (384 with
    patches of 14 has the 27 x 27 positions that 378 has).
    """
    path = folder / PREPROCESSOR_FILE
    if not path.is_file():
        return config
    content, vision = read_json(path), config.vision
    if vision.naflex:
        budget = content.get("max_num_patches", vision.max_num_patches)
        return replace(config, vision=replace(vision, max_num_patches=budget))
    given = content.get("size")
    size = given if isinstance(given, int) else member(content, "size", path).get("height")
    if size is not None and type(size) is not int:
        raise InvalidCheckpoint(f"{path}: size is {given!r}, expected a whole number of pixels")
    if size and size // vision.patch_size == vision.position_grid:
        return replace(config, vision=replace(vision, image_size=size))
    return config


def write_inputs(
    config: ModelConfig, preprocessing: Preprocessing, tokenizer: Path | None, folder: Path
) -> None:
    """Write the preprocessor file and copy the vocabulary into a folder."""
    write_json(folder / PREPROCESSOR_FILE, _preprocessor_config(config, preprocessing))
    if tokenizer is None:
        return
    # A folder written over itself keeps its files.
    if tokenizer.parent.resolve() != folder.resolve():
        for name in (*_TOKENIZER_FILES, *_TOKENIZER_SETTINGS):
            (folder / name).unlink(missing_ok=True)
        target = "tokenizer.model" if tokenizer.suffix == ".model" else "tokenizer.json"
        shutil.copyfile(tokenizer, folder / target)
        for name in _TOKENIZER_SETTINGS:
            if (tokenizer.parent / name).is_file():
                shutil.copyfile(tokenizer.parent / name, folder / name)
    if not (folder / "tokenizer_config.json").exists():
        write_json(folder / "tokenizer_config.json", _tokenizer_config(config))


def _parse(content: dict[str, Any], path: Path) -> Preprocessing:
    try:
        preprocessing = Preprocessing(**content)
    except TypeError as error:
        raise InvalidCheckpoint(f"{path}: {_KEY}: {error}") from error
    for name, value, known in (
        ("image_preset", preprocessing.image_preset, get_args(ImagePreset)),
        ("lowercase", preprocessing.lowercase, get_args(Lowercase)),
    ):
        if value not in known:
            raise InvalidCheckpoint(f"{path}: {_KEY}.{name} is {value!r}, expected one of {', '.join(known)}")
    return preprocessing


def _preprocessor_config(config: ModelConfig, preprocessing: Preprocessing) -> dict[str, Any]:
    vision = config.vision
    content: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": _BICUBIC if preprocessing.image_preset == "timm" else _BILINEAR,
        _KEY: asdict(preprocessing),
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


def _tokenizer_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "Siglip2Tokenizer" if config.vision.naflex else "GemmaTokenizer",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
        "padding_side": "right",
        "model_max_length": config.text.context_length,
    }
