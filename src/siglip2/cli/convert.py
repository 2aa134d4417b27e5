"""`siglip2 convert`: one format of weights into another."""

from pathlib import Path
from typing import Literal

from siglip2.errors import InvalidInput
from siglip2.weights.load import load_checkpoint, save_checkpoint, weights_in


def convert(
    source: str,
    target: Path,
    *,
    to: Literal["transformers", "big_vision"] = "transformers",
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    replace: bool = False,
) -> None:
    """Write a model in another format or precision.

    Args:
        source: bundled name, folder, file or hub id of a model.
        target: folder to write; made if missing.
        to: `transformers` writes config.json, safetensors and the inputs' files, as `AutoModel` loads them;
            `big_vision` writes the authors' .npz.
        dtype: precision of the written tensors; as they are by default.
        replace: write over a model that the folder holds.
    """
    if not replace and (held := weights_in(target)):
        raise InvalidInput(
            f"{target} holds a model already ({held[0]}): name another folder, or write over it with "
            "--replace"
        )
    checkpoint = load_checkpoint(source)
    save_checkpoint(checkpoint, target, dtype=dtype, format="hf" if to == "transformers" else "big_vision")
    parameters = f"{checkpoint.config.num_parameters:,} parameters"
    print(f"{checkpoint.source} -> {target} ({to}, {dtype or checkpoint.dtype}, {parameters})")
    if checkpoint.tokenizer is None:
        print(f"{checkpoint.source} has no vocabulary beside it: put tokenizer.json into {target}")
