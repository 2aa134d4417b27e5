"""The towers through torch: CPU, CUDA and Apple's MPS."""

import threading
from collections.abc import Iterator

import numpy as np
import torch

from siglip2.errors import InvalidInput
from siglip2.inputs.batch import ImageBatch
from siglip2.network.init import build
from siglip2.network.model import SigLIP2
from siglip2.runtime.base import ImageFeatures, Precision
from siglip2.weights.checkpoint import Checkpoint

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TorchRuntime:
    """Runs the torch towers without gradients. Calls from several threads take turns."""

    name = "torch"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        precision: Precision = "auto",
        device: str | None = None,
        compile: bool = False,
    ):
        """Load the weights onto a device.

        Args:
            checkpoint: the weights.
            precision: `auto` is bfloat16 on CUDA and float32 elsewhere.
            device: `cpu`, `cuda`, `cuda:1`, `mps`; None takes the fastest that is there.
            compile: run every block through `torch.compile`; pays for itself on long work.

        Raises:
            InvalidInput: a device that is not there, or int8.
        """
        self.config = checkpoint.config
        self._checkpoint = checkpoint
        self.device = _checked_device(device or best_device())
        if precision == "auto":
            precision = "bfloat16" if self.device.startswith("cuda") else "float32"
        if precision not in _DTYPES:
            raise InvalidInput(
                f"the torch runtime runs float32 and bfloat16, not {precision}; use openvino for int8"
            )
        self.precision = precision
        self._dtype = _DTYPES[precision]
        self._lock = threading.Lock()
        self.model = load_model(checkpoint).to(self.device, self._dtype).eval().requires_grad_(False)
        if compile:
            for tower in (self.model.vision_model, self.model.text_model):
                for layer in tower.encoder.layers:
                    layer.compile()

    def encode_images(self, batch: ImageBatch, *, return_patches: bool = False) -> ImageFeatures:
        """Run the image tower."""
        patches = torch.from_numpy(batch.patches).to(self.device)
        if patches.dtype == torch.uint8:
            patches = patches.float() / 127.5 - 1
        naflex = self.config.vision.naflex
        with self._lock, torch.inference_mode():
            output = self.model.vision_model(
                patches.to(self._dtype),
                grids=torch.from_numpy(batch.grids) if naflex else None,
                mask=None if batch.mask is None else torch.from_numpy(batch.mask).to(self.device),
            )
            pooled = output.pooled.float().cpu().numpy()
            features = output.patches.float().cpu().numpy() if return_patches else None
        return ImageFeatures(pooled=pooled, patches=features)

    def encode_texts(self, ids: np.ndarray) -> np.ndarray:
        """Run the text tower; (T, context_length) ids to (T, E) float32."""
        with self._lock, torch.inference_mode():
            self._restore_text_tower()
            tokens = torch.from_numpy(np.asarray(ids, np.int64)).to(self.device)
            return self.model.text_model(tokens).pooled.float().cpu().numpy()

    def prepare_text_tower(self) -> None:
        """Read the text tower again, if it was released."""
        with self._lock:
            self._restore_text_tower()

    def release_text_tower(self) -> None:
        """Free the text tower's memory; the next texts read it again."""
        with self._lock:
            self.model.text_model.to("meta")

    def _restore_text_tower(self) -> None:
        tower = self.model.text_model
        if not tower.head.weight.is_meta:
            return
        read = _tensors(self._checkpoint, "text_model.")
        tower.load_state_dict(
            {name: tensor.to(self.device, self._dtype) for name, tensor in read}, assign=True
        )


def load_model(checkpoint: Checkpoint) -> SigLIP2:
    """The torch model with a checkpoint's weights, in float32 on the CPU."""
    model = build(checkpoint.config)
    model.load_state_dict(dict(_tensors(checkpoint)))
    return model


def _tensors(checkpoint: Checkpoint, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Names below a prefix and weights in float32 on the CPU, one at a time."""
    for name in checkpoint.tensors:
        if name.startswith(prefix):
            yield name.removeprefix(prefix), torch.from_numpy(np.array(checkpoint.read(name)))


def _checked_device(name: str) -> str:
    """The same name, if torch can run there."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidInput(f"there is no device {name!r}: name cpu, cuda, cuda:1 or mps") from None
    if device.type == "cpu":
        return name
    there = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if there is not None and there.type == device.type else 0
    if (device.index or 0) >= count:
        raise InvalidInput(
            f"device {name} was asked for, but torch sees {count or 'no'} {device.type} device"
            f"{'' if count == 1 else 's'}; leave the device out to take the fastest"
        )
    return name


def best_device() -> str:
    """`cuda`, `mps` or `cpu`."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
