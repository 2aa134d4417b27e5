"""The model as `clip_benchmark` loads models, so that its suite can be run: `--model_type siglip2`.

Register before running it: `siglip2.evals.clip_benchmark_model.register()`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siglip2.encoder import Encoder, load
from siglip2.inputs.image import PreparedImage
from siglip2.similarity import to_unit_length


class ClipBenchmarkModel(torch.nn.Module):
    """`encode_image` and `encode_text` on what `transform` and `tokenizer` made."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def transform(self, picture: Any) -> Tensor:
        """A Pillow picture to (1 + N, P): a row with its grid, then its patches as the encoder makes them.

        The suite stacks pictures, which NaFlex's shapes would not allow: N is the token budget then.
        """
        vision = self.encoder.checkpoint.config.vision
        prepared = self.encoder.image_preprocessor.prepare_one(picture)
        num_rows = vision.max_num_patches if vision.naflex else len(prepared.patches)
        rows = np.zeros((1 + num_rows, vision.patch_dim), prepared.patches.dtype)
        rows[0, :2] = prepared.grid
        rows[1 : 1 + len(prepared.patches)] = prepared.patches
        return torch.from_numpy(rows)

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 1 + N, P) of `transform` to (B, E) unit vectors."""
        prepared = []
        for rows in images.cpu().numpy():
            high, wide = rows[0, :2].astype(int).tolist()
            prepared.append(PreparedImage(patches=rows[1 : 1 + high * wide], grid=(high, wide)))
        features = self.encoder.runtime.encode_images(self.encoder.image_preprocessor.batch(prepared))
        return torch.from_numpy(to_unit_length(features.pooled))

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
    model = ClipBenchmarkModel(encoder)

    def tokenize(texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(encoder.tokenize(texts).astype(np.int64))

    return model, model.transform, tokenize


def register() -> None:
    """Make `siglip2` a model type of clip_benchmark."""
    from clip_benchmark import models  # pyright: ignore[reportMissingImports]

    models.TYPE2FUNC["siglip2"] = load_siglip2
    if "siglip2" not in models.MODEL_TYPES:
        models.MODEL_TYPES.append("siglip2")
