"""`siglip2 export`: a model for ONNX Runtime, OpenVINO, torch.export or transformers."""

from pathlib import Path
from typing import Literal

from siglip2.errors import InvalidInput


def export(
    model: str,
    *,
    to: Literal["onnx", "openvino", "torch-export", "transformers", "safetensors"] = "onnx",
    output: Path,
    int8: bool = False,
    revision: str | None = None,
    offline: bool = False,
) -> None:
    """Write a model for another runtime, checked against the source.

    Args:
        model: `nano`, a released name, a hub repository, a folder or a file.
        to: the format.
        output: folder to write to.
        int8: onnx only, also write files with 8-bit weights, and say how near they come: the same speed,
            a third of the size.
        revision: branch, tag or commit on the hub.
        offline: never ask the hub; use its local cache.
    """
    from siglip2.weights.load import load_checkpoint

    checkpoint = load_checkpoint(model, revision=revision, offline=offline)
    try:
        from siglip2.export.files import describe
        from siglip2.export.files import export as write
    except ModuleNotFoundError as error:
        raise InvalidInput(f"exporting needs {error.name}: pip install 'siglip2[export]'") from None
    try:
        print(describe(write(checkpoint, output, to, int8=int8)))
    except ModuleNotFoundError as error:
        raise InvalidInput(f"exporting to {to} needs {error.name}: pip install 'siglip2[export]'") from None
