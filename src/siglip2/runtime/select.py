"""Which runtime runs a checkpoint: chosen from what the machine has, or forced."""

import importlib.util
import platform
import sys
from pathlib import Path

from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.runtime.base import Precision, Runtime, RuntimeName
from siglip2.weights.checkpoint import Checkpoint


def open_runtime(
    checkpoint: Checkpoint,
    *,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    device: str | None = None,
) -> Runtime:
    """Open the runtime for a checkpoint. The choice is one line of the log `siglip2`.

    Args:
        checkpoint: the weights.
        runtime: `auto` is torch where it is installed and sees a GPU, else OpenVINO.
        precision: see the runtimes; `int8` exists in OpenVINO only, so `auto` takes that for it.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; None takes the fastest that the runtime can use.

    Raises:
        Siglip2Error: what was asked for does not exist on this machine.
    """
    if choose_runtime(runtime, precision, device) == "torch":
        if importlib.util.find_spec("torch") is None:
            raise Siglip2Error("the torch runtime needs torch: pip install 'siglip2[torch]'")
        from siglip2.runtime.torch import TorchRuntime

        return TorchRuntime(checkpoint, precision=precision, device=device)
    if device not in (None, "cpu"):
        raise InvalidInput(
            f"the openvino runtime runs on the cpu, not on {device}: use runtime torch for GPUs"
        )
    from siglip2.runtime.openvino import OpenVinoRuntime

    return OpenVinoRuntime(checkpoint, precision=precision)


def choose_runtime(runtime: RuntimeName, precision: Precision, device: str | None) -> RuntimeName:
    """`openvino` or `torch`.

    Raises:
        InvalidInput: no runtime of that name.
    """
    if runtime not in ("auto", "openvino", "torch"):
        raise InvalidInput(f"runtime {runtime!r} is not one of auto, openvino, torch")
    if runtime != "auto":
        return runtime
    if precision == "int8" or device == "cpu":
        return "openvino"
    if device is not None:
        return "torch"
    return "torch" if _torch_sees_gpu() else "openvino"


def _torch_sees_gpu() -> bool:
    """Whether torch is installed and has a device; torch is imported only where a GPU driver is present."""
    if importlib.util.find_spec("torch") is None or not _has_gpu_driver():
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _has_gpu_driver() -> bool:
    """A cheap look, because importing torch takes longer than a first answer on the processor."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return Path(r"C:\Windows\System32\nvcuda.dll").exists()
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or Path("/dev/dxg").exists()
