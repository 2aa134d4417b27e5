"""What a caller of exported graphs has to know besides them, in one small JSON file."""

from pathlib import Path
from typing import Any

import numpy as np

from siglip2.fingerprint import weights_fingerprint
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.json_file import write_json

FACTS = "siglip2.json"


def facts_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """How inputs are prepared, how cosines become logits, and whose graphs they are.

    Args:
        checkpoint: the source.

    Returns:
        `logit_scale` is exp(t), the factor of the cosine; sizes are in pixels and tokens; `image_size` is
        null for NaFlex; `fingerprint` tells models of one shape apart.
    """
    vision, text = checkpoint.config.vision, checkpoint.config.text
    return {
        "logit_scale": float(np.exp(checkpoint.read("logit_scale")[0])),
        "logit_bias": float(checkpoint.read("logit_bias")[0]),
        "embed_dim": checkpoint.config.embed_dim,
        "naflex": vision.naflex,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "max_num_patches": vision.max_num_patches if vision.naflex else vision.num_positions,
        "image_preset": checkpoint.preprocessing.image_preset,
        "context_length": text.context_length,
        "lowercase": checkpoint.preprocessing.lowercase,
        "fingerprint": weights_fingerprint(checkpoint),
    }


def write_facts(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write `facts_of` a model beside its graphs; the file."""
    write_json(folder / FACTS, facts_of(checkpoint))
    return folder / FACTS
