"""Towers in 8-bit integers: calibrate once, save beside the weights, reuse.

Post-training quantisation by NNCF (extra `int8`): weights and the inputs of every matrix product become
8-bit, norms, softmax and residuals stay in floating point. NNCF imports torch only where it is installed.
It pays where the processor multiplies 8-bit integers natively (AVX512-VNNI, AVX-VNNI, AMX). Without them it
is no faster than float32, and saves memory only.
"""

import contextlib
import hashlib
import io
import json
import logging
import mmap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openvino as ov

from siglip2.errors import Siglip2Error
from siglip2.inputs.batch import ImageBatch
from siglip2.runtime.openvino_graph import POOLED, build_text_graph, build_vision_graph
from siglip2.runtime.openvino_inputs import TextInputs, VisionInputs
from siglip2.runtime.openvino_memory import writable_bytes
from siglip2.runtime.openvino_samples import sample_images, sample_texts
from siglip2.weights.checkpoint import Checkpoint

FOLDER = "openvino_int8"

logger = logging.getLogger("siglip2")


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """How near the int8 towers are to float32 on the calibration data, as cosine similarity."""

    image_cosine_mean: float
    image_cosine_min: float
    text_cosine_mean: float
    text_cosine_min: float


@dataclass(frozen=True, kw_only=True)
class QuantizedTower:
    """One saved graph: a function that builds it, and the mapped file that its weights lie in."""

    build: Callable[[], ov.Model]
    file: mmap.mmap


@dataclass(frozen=True, kw_only=True)
class QuantizedTowers:
    """The two saved graphs."""

    vision: QuantizedTower
    text: QuantizedTower


def quantize(
    checkpoint: Checkpoint,
    images: Sequence[ImageBatch] | None = None,
    texts: np.ndarray | None = None,
    *,
    folder: Path | None = None,
) -> QuantizationReport:
    """Make the int8 towers of a checkpoint and save them.

    Args:
        checkpoint: the weights.
        images: batches of the kind of photographs the model will see; 100 to 300 photographs are plenty.
            None takes drawn pictures, which cost a little accuracy.
        texts: (T, context_length) token ids; None takes made-up ones.
        folder: where to save; None is `openvino_int8` beside the weights.

    Raises:
        Siglip2Error: NNCF is not installed, or there is no folder to save in.
    """
    target = folder or default_folder(checkpoint)
    images = sample_images(checkpoint.config.vision) if images is None else images
    texts = sample_texts(checkpoint.config.text) if texts is None else texts
    vision, text = VisionInputs(checkpoint), TextInputs(checkpoint)
    image_inputs = [vision.make(batch, slice(i, i + 1)) for batch in images for i in range(len(batch))]
    text_inputs = [text.make(texts[i : i + 1]) for i in range(len(texts))]
    target.mkdir(parents=True, exist_ok=True)
    image_cosines = _quantize_tower(build_vision_graph(checkpoint), image_inputs, target / "vision.xml")
    text_cosines = _quantize_tower(build_text_graph(checkpoint), text_inputs, target / "text.xml")
    report = QuantizationReport(
        image_cosine_mean=float(image_cosines.mean()),
        image_cosine_min=float(image_cosines.min()),
        text_cosine_mean=float(text_cosines.mean()),
        text_cosine_min=float(text_cosines.min()),
    )
    content = {"weights": _fingerprint(checkpoint), "cosine_to_float32": asdict(report)}
    (target / "report.json").write_text(json.dumps(content, indent=2) + "\n")
    logger.info("int8 towers saved in %s: %s", target, content["cosine_to_float32"])
    return report


def read_quantized(checkpoint: Checkpoint, core: ov.Core, folder: Path | None = None) -> QuantizedTowers:
    """The saved int8 towers; made from drawn calibration data where there are none for these weights.

    Raises:
        Siglip2Error: they have to be made and cannot be.
    """
    source = folder or default_folder(checkpoint)
    report = source / "report.json"
    if not report.exists() or json.loads(report.read_text()).get("weights") != _fingerprint(checkpoint):
        logger.info("making the int8 towers in %s: this happens once and takes a minute or more", source)
        quantize(checkpoint, folder=source)
    return QuantizedTowers(
        vision=_saved_tower(core, source / "vision.xml"), text=_saved_tower(core, source / "text.xml")
    )


def _saved_tower(core: ov.Core, path: Path) -> QuantizedTower:
    """A graph whose weights stay in our own mapping, so that the pages can be given back once packed."""
    with path.with_suffix(".bin").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    weights = ov.Tensor(writable_bytes(np.frombuffer(mapped, np.uint8)), shared_memory=True)
    return QuantizedTower(build=lambda: core.read_model(path.read_text(), weights), file=mapped)


def default_folder(checkpoint: Checkpoint) -> Path:
    """`openvino_int8` beside the weights.

    Raises:
        Siglip2Error: the weights are in memory only.
    """
    source = Path(checkpoint.source)
    if not source.exists():
        raise Siglip2Error(
            f"int8 towers are saved beside the weights, and {checkpoint.source!r} is no file or folder: "
            "name a folder to save in"
        )
    return (source if source.is_dir() else source.parent) / FOLDER


def _quantize_tower(graph: ov.Model, inputs: list[dict[str, np.ndarray]], path: Path) -> np.ndarray:
    """Quantise, save; cosine of each input's result to the float32 graph."""
    try:
        import nncf
    except ImportError as error:
        raise Siglip2Error("int8 needs NNCF: pip install 'siglip2[int8]'") from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars cannot be switched off
        quantized = nncf.quantize(
            graph,
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
        )
    ov.save_model(quantized, path, compress_to_fp16=False)
    exact, rounded = _pooled(graph, inputs), _pooled(quantized, inputs)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    return (exact * rounded).sum(axis=1) / lengths


def _pooled(graph: ov.Model, inputs: list[dict[str, np.ndarray]]) -> np.ndarray:
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    rows = []
    for each in inputs:
        request.infer({name: ov.Tensor(value) for name, value in each.items()})
        rows.append(request.get_tensor(POOLED).data[0].copy())
    return np.stack(rows)


def _fingerprint(checkpoint: Checkpoint) -> str:
    """A hash over small tensors and a slice of every large one, so that other weights are noticed."""
    digest = hashlib.sha256(repr(checkpoint.config).encode())
    for name, tensor in checkpoint.tensors.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.bits[:2]).tobytes())
    return digest.hexdigest()
