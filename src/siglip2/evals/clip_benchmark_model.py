"""The model as `clip_benchmark` loads models, so that its suite can be run: `--model_type siglip2`.

Register before running it: `siglip2.evals.clip_benchmark_model.register()`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siglip2.encoder import Encoder, load


class ClipBenchmarkModel(torch.nn.Module):
    """`encode_image` and `encode_text` on what `transform` and `tokenizer` made."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 pictures to (B, E) unit vectors."""
        return torch.from_numpy(self.encoder.embed_images(list(images.cpu().numpy())))

    def encode_text(self, ids: Tensor) -> Tensor:
        """(T, L) token ids to (T, E) vectors."""
        return torch.from_numpy(self.encoder.runtime.encode_texts(ids.cpu().numpy().astype(np.int32)))


def load_siglip2(
    model_name: str, pretrained: str | None = None, cache_dir: str | None = None, device: str = "cpu"
) -> tuple[ClipBenchmarkModel, Callable[[Any], Tensor], Callable[[Sequence[str]], Tensor]]:
    """Model, transform and tokenizer, as `clip_benchmark.models.load_clip` returns them.

    Args:
        model_name: any name that `siglip2.load` takes; `:` stands for `/`.
        pretrained: not used.
        cache_dir: not used; the hub's own cache is.
        device: `cpu` or a torch device.
    """
    encoder = load(model_name.replace(":", "/"), device=None if device == "cpu" else device)
    side = encoder.checkpoint.config.vision.image_size or 256

    def transform(picture: Any) -> Tensor:
        # Pictures of one batch must be of one size; the model's own resize then has nothing left to do.
        return torch.from_numpy(np.asarray(picture.convert("RGB").resize((side, side), 2)).copy())

    def tokenize(texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(encoder.tokenize(texts).astype(np.int64))

    return ClipBenchmarkModel(encoder), transform, tokenize


def register() -> None:
    """Make `siglip2` a model type of clip_benchmark."""
    from clip_benchmark import models  # pyright: ignore[reportMissingImports]

    models.TYPE2FUNC["siglip2"] = load_siglip2
    if "siglip2" not in models.MODEL_TYPES:
        models.MODEL_TYPES.append("siglip2")
