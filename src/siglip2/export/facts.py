"""What a caller of exported graphs has to know besides them, in one small JSON file."""

from pathlib import Path

import numpy as np

from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.json_file import write_json

FACTS = "siglip2.json"


def write_facts(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write how inputs are prepared and how cosines become logits.

    Args:
        checkpoint: the source.
        folder: where the graphs lie.

    Returns:
        The file: `logit_scale` is exp(t), the factor of the cosine; sizes are in pixels and tokens;
        `image_size` is null for NaFlex.
    """
    vision, text = checkpoint.config.vision, checkpoint.config.text
    facts = {
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
    }
    write_json(folder / FACTS, facts)
    return folder / FACTS
