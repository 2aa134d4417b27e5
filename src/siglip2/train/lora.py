"""Low-rank fine-tuning through `peft` (LoRA, arXiv 2106.09685): small matrices beside the linear layers.

The towers carry the names of the published files, so an adapter written here loads with
`PeftModel.from_pretrained` over the same checkpoint in `transformers`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from siglip2.errors import InvalidInput
from siglip2.network.model import SigLIP2
from siglip2.recipes.recipe import LowRank

_BASE, _DOWN, _UP = ".base_layer", ".lora_A.default.weight", ".lora_B.default.weight"
_IN_ONE_MODULE = "head.attention.out_proj"
"""The pooling head's attention is one module in `transformers`, which reads this layer's weight by itself and
would pass by matrices beside it: an adapter holds it whole."""


def add_low_rank(model: SigLIP2, settings: LowRank, locked: tuple[str, ...] = ()) -> None:
    """Freeze a model and put trainable matrices beside its linear layers; scale and bias stay trainable.

    Args:
        model: with its initial weights in place.
        settings: rank, scale and layers.
        locked: beginnings of the names of parameters that stay as they are.

    Raises:
        InvalidInput: `peft` is not installed, or no layer is left to train.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError:
        raise InvalidInput("low-rank fine-tuning needs peft: pip install 'siglip2[lora]'") from None
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(tuple(f".{each}" for each in settings.layers))
    ]
    free = [name for name in layers if not f"{name}.weight".startswith(locked or ("no parameter",))]
    if not free:
        raise InvalidInput(
            f"low-rank fine-tuning finds no linear layer called {' or '.join(settings.layers)}"
            f"{' that is not locked' if layers else ''}; there are q_proj, k_proj, v_proj, out_proj, fc1, fc2"
        )
    model.requires_grad_(False)
    # What peft draws follows from the global state, which a run does not otherwise touch.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inject_adapter_in_model(LoraConfig(**_config(settings, free)), model)
    for name in ("logit_scale", "logit_bias"):
        model.get_parameter(name).requires_grad_(not name.startswith(locked or ("no parameter",)))


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
    layers = [name.removesuffix(_DOWN) for name in weights if name.endswith(_DOWN)]
    whole = [name for name in layers if name.endswith(_IN_ONE_MODULE)]
    beside = [name for name in layers if name not in whole]
    tensors = {
        name.replace(".default", ""): value
        for name, value in weights.items()
        if name.endswith((_DOWN, _UP)) and name.startswith(tuple(beside))
    }
    plain = merged(weights, settings)
    tensors |= {f"{name}.{part}": plain[f"{name}.{part}"] for name in whole for part in ("weight", "bias")}
    save_file(
        {f"base_model.model.{name}": value.contiguous().cpu() for name, value in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "base_model_name_or_path": base, "inference_mode": True, "bias": "none"}
    config |= _config(settings, beside) | {"modules_to_save": whole or None}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _config(settings: LowRank, layers: list[str]) -> dict:
    return {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": 0.0,
        "target_modules": layers,
    }
