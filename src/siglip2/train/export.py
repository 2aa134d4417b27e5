"""A run's averaged weights as a model that every command reads."""

from pathlib import Path

from torch import Tensor

from siglip2.config import ModelConfig, Preprocessing
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.hf import write_hf
from siglip2.weights.tensor import DType
from siglip2.weights.vocabulary import complete_vocabulary


def export_model(
    config: ModelConfig,
    weights: dict[str, Tensor],
    tokenizer: Path,
    folder: Path,
    *,
    preprocessing: Preprocessing | None = None,
    dtype: DType = "float16",
) -> Checkpoint:
    """Write a Hugging Face folder with a vocabulary that `transformers` reads as we do.

    Args:
        config: shape of the model.
        weights: canonical tensors.
        tokenizer: its vocabulary.
        folder: where to.
        preprocessing: of the weights that the run began from; None for that of the released models.
        dtype: of the tensors in the file.
    """
    tensors = {name: tensor.detach().float().cpu().numpy() for name, tensor in weights.items()}
    checkpoint = Checkpoint.from_tensors(
        config, tensors, preprocessing=preprocessing, tokenizer=tokenizer
    ).cast(dtype)
    write_hf(checkpoint, folder)
    complete_vocabulary(checkpoint, folder)
    return checkpoint
