"""Low-rank fine-tuning through `peft` (LoRA, arXiv 2106.09685): small matrices beside the linear layers.

The towers carry the names of the published files, so an adapter written here loads with
`PeftModel.from_pretrained` over the same checkpoint in `transformers`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from siglip2.errors import InvalidInput
from siglip2.network.model import SigLIP2
from siglip2.recipes.recipe import LowRank

_BASE, _DOWN, _UP = ".base_layer", ".lora_A.default.weight", ".lora_B.default.weight"


def add_low_rank(model: SigLIP2, settings: LowRank) -> None:
    """Freeze a model and put trainable matrices beside its linear layers; scale and bias stay trainable.

    Args:
        model: with its initial weights in place.
        settings: rank, scale and layers.

    Raises:
        InvalidInput: `peft` is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError:
        raise InvalidInput("low-rank fine-tuning needs peft: pip install 'siglip2[lora]'") from None
    model.requires_grad_(False)
    # What peft draws follows from the global state, which a run does not otherwise touch.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inject_adapter_in_model(LoraConfig(**_config(settings)), model)
    model.logit_scale.requires_grad_(True)
    model.logit_bias.requires_grad_(True)


def merged(weights: Mapping[str, Tensor], settings: LowRank) -> dict[str, Tensor]:
    """Weights under their plain names, with the low-rank products added.

    Args:
        weights: `state_dict` of a model after `add_low_rank`.
        settings: of the run.
    """
    result = {}
    for name, value in weights.items():
        if name.endswith((_DOWN, _UP)):
            continue
        plain = name.replace(_BASE, "")
        layer = plain.removesuffix(".weight")
        if plain.endswith(".weight") and layer + _DOWN in weights:
            value = value + settings.alpha / settings.rank * weights[layer + _UP] @ weights[layer + _DOWN]
        result[plain] = value
    return result


def save_adapter(weights: Mapping[str, Tensor], settings: LowRank, base: str, folder: Path) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json` as peft does.

    Args:
        weights: `state_dict` of a model after `add_low_rank`.
        settings: of the run.
        base: the model that the adapter belongs to.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.{name.replace('.default', '')}": value.contiguous().cpu()
        for name, value in weights.items()
        if name.endswith((_DOWN, _UP))
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": base, "inference_mode": True, "bias": "none"}
    config |= _config(settings)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _config(settings: LowRank) -> dict:
    return {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(settings.layers),
    }
