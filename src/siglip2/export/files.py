"""Write a model for another runtime, and check what was written against the source."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.export.facts import write_facts
from siglip2.export.folder import check_folder
from siglip2.export.graphs import FixedImages, NaFlexImages, Texts
from siglip2.runtime.torch import load_model
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.hf import read_hf, write_description, write_hf
from siglip2.weights.vocabulary import complete_vocabulary

Format = Literal["onnx", "openvino", "torch-export", "transformers", "safetensors"]

TOLERANCE = 1e-4
"""Largest difference to the source as a share of its largest value; a file that misses it is an error."""

INT8_COSINE = 0.999
"""Least cosine of an int8 file's embeddings to the source; a file that misses it is an error."""

OPSET = 18

MOST_INLINE = 1_900_000_000
"""Bytes of weights that an ONNX file holds itself, whose format ends at 2 GiB; more lie in a `.data` file."""


class ExportFailed(Siglip2Error):
    """What was written does not give the numbers of the source."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        files: in the order of writing.
        differences: of each tower, the largest difference to the source as a share of its largest value.
        cosines: of each quantised tower, the least cosine to the source; empty without int8.
    """

    files: tuple[Path, ...]
    differences: dict[str, float]
    cosines: dict[str, float]


@dataclass(frozen=True)
class _Tower:
    name: str
    module: nn.Module
    example: dict[str, torch.Tensor]
    outputs: tuple[str, ...]


def export(checkpoint: Checkpoint, folder: Path, to: Format, *, int8: bool = False) -> Exported:
    """Write a model.

    `onnx`, `openvino` and `torch-export` give one file for each tower, `vision` and `text`, with any batch
    and, for NaFlex, any grids; inputs and outputs carry `transformers`' names. `transformers` and
    `safetensors` give a Hugging Face folder. The vocabulary and a `preprocessor_config.json` lie beside them
    in any case, and beside graphs a `siglip2.json` with the logits' scale and bias.

    Args:
        checkpoint: the source.
        folder: where to.
        to: the format.
        int8: `onnx` only: also write weights in 8 bit.

    Raises:
        InvalidInput: int8 in another format, or a folder that holds another model or, for graphs, weights.
        ExportFailed: a file gives other numbers than the source, or its int8 twin is too far from it.
    """
    if int8 and to != "onnx":
        raise InvalidInput("int8 is written for onnx; for OpenVINO load the model with precision int8")
    check_folder(checkpoint, folder, graphs=to in _WRITERS)
    folder.mkdir(parents=True, exist_ok=True)
    if to in ("transformers", "safetensors"):
        write_hf(checkpoint, folder)
        complete_vocabulary(checkpoint, folder)
        same = _read_back(checkpoint, folder)
        return Exported(files=tuple(sorted(folder.iterdir())), differences=same, cosines={})
    write_description(checkpoint, folder)
    write_facts(checkpoint, folder)
    files, differences, cosines = [], {}, {}
    for tower in _towers(checkpoint):
        path, run = _WRITERS[to](tower, folder)
        files += [each for each in (path, path.with_name(f"{path.name}.data")) if each.exists()]
        differences[tower.name] = _checked(tower, run, path)
        if int8:
            small, cosine = _quantised(tower, path)
            files.append(small)
            cosines[tower.name] = cosine
    return Exported(files=tuple(files), differences=differences, cosines=cosines)


def _read_back(checkpoint: Checkpoint, folder: Path) -> dict[str, float]:
    """Weights go into a folder bit by bit: no difference for either tower, or an error."""
    written = read_hf(folder)
    for name in checkpoint.tensors:
        if name not in written.tensors or not np.array_equal(written.read(name), checkpoint.read(name)):
            raise ExportFailed(f"{folder} holds other weights than the source in {name}")
    return {"vision": 0.0, "text": 0.0}


def _towers(checkpoint: Checkpoint) -> list[_Tower]:
    model = load_model(checkpoint).eval().requires_grad_(False)
    vision, text = checkpoint.config.vision, checkpoint.config.text
    generator = torch.Generator().manual_seed(0)
    if vision.naflex:
        grids = torch.tensor([[3, 4], [5, 2]])
        mask = (torch.arange(12)[None] < grids.prod(1, keepdim=True)).long()
        example = {
            "pixel_values": torch.rand(2, 12, vision.patch_dim, generator=generator) * 2 - 1,
            "pixel_attention_mask": mask,
            "spatial_shapes": grids,
        }
        images: nn.Module = NaFlexImages(model.vision_model)
    else:
        side = vision.image_size
        assert side is not None
        example = {"pixel_values": torch.rand(2, 3, side, side, generator=generator) * 2 - 1}
        images = FixedImages(model.vision_model)
    ids = torch.randint(3, text.vocab_size, (3, text.context_length), generator=generator)
    return [
        _Tower("vision", images, example, ("image_embeds", "last_hidden_state")),
        _Tower("text", Texts(model), {"input_ids": ids}, ("text_embeds",)),
    ]


def _program(tower: _Tower) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=4096)
    patches = torch.export.Dim("patches", min=2, max=4096)
    shapes: dict[str, dict[int, torch.export.Dim]] = {name: {0: batch} for name in tower.example}
    if "spatial_shapes" in tower.example:
        shapes["pixel_values"][1] = shapes["pixel_attention_mask"][1] = patches
    return torch.export.export(tower.module, (), tower.example, dynamic_shapes=shapes, strict=False)


Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


def _write_torch_export(tower: _Tower, folder: Path) -> tuple[Path, Run]:
    path = folder / f"{tower.name}.pt2"
    torch.export.save(_program(tower), path)
    module = torch.export.load(path).module()

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = module(**{name: torch.from_numpy(value) for name, value in inputs.items()})
        return [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]

    return path, run


def _write_onnx(tower: _Tower, folder: Path) -> tuple[Path, Run]:
    path = folder / f"{tower.name}.onnx"
    with _quiet():
        written = torch.onnx.export(
            _program(tower),
            input_names=list(tower.example),
            output_names=list(tower.outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert written is not None
    size = sum(each.numel() * each.element_size() for each in tower.module.parameters())
    written.save(str(path), external_data=size > MOST_INLINE)
    return path, _onnx_session(path)


def _onnx_session(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: [np.asarray(each) for each in session.run(None, inputs)]


def _write_openvino(tower: _Tower, folder: Path) -> tuple[Path, Run]:
    import openvino

    with _quiet():
        converted = openvino.convert_model(_program(tower))
    for port, name in zip(converted.inputs, tower.example, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(converted.outputs, tower.outputs, strict=True):
        port.get_tensor().set_names({name})
    path = folder / f"{tower.name}.xml"
    openvino.save_model(converted, path, compress_to_fp16=False)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = compiled(inputs)
        return [found[name] for name in tower.outputs]

    return path, run


_WRITERS: dict[str, Callable[[_Tower, Path], tuple[Path, Run]]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "torch-export": _write_torch_export,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' own warnings, which are about their insides and about torchvision."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _checked(tower: _Tower, run: Run, path: Path) -> float:
    """The largest difference over another batch than the one that was traced."""
    larger = {name: torch.cat([value, value.flip(0), value]) for name, value in tower.example.items()}
    expected = tower.module(**larger)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = run({name: value.numpy() for name, value in larger.items()})
    worst = 0.0
    for ours, theirs in zip(expected, found, strict=True):
        source = ours.numpy()
        if "pixel_attention_mask" in larger and source.ndim == 3:
            real = larger["pixel_attention_mask"].numpy().astype(bool)
            source, theirs = source[real], theirs[real]
        # Unlike max(), this keeps a NaN.
        worst = float(np.maximum(worst, np.abs(source - theirs).max() / np.abs(source).max()))
    if not worst < TOLERANCE:
        raise ExportFailed(f"{path} differs from the source by {worst:.1e} of its largest value")
    return worst


def _quantised(tower: _Tower, path: Path) -> tuple[Path, float]:
    """Weights in 8 bit, activations as they come; and the least cosine to the source."""
    from siglip2.export.int8 import write_int8

    small = path.with_name(f"{path.stem}.int8.onnx")
    write_int8(path, small)
    source = tower.module(**tower.example)
    source = (source[0] if isinstance(source, tuple) else source).numpy()
    found = _onnx_session(small)({name: value.numpy() for name, value in tower.example.items()})[0]
    cosine = float(((source * found).sum(-1) / np.linalg.norm(found, axis=-1)).min())
    if not cosine > INT8_COSINE:
        raise ExportFailed(f"{small} has a cosine of {cosine:.4f} to the source, below {INT8_COSINE}")
    return small, cosine


def describe(exported: Exported) -> str:
    """The result as JSON lines for people and programs."""
    rows = [{"file": str(path), "bytes": path.stat().st_size} for path in exported.files]
    checks = {"differences": exported.differences, "int8_cosines": exported.cosines}
    return "\n".join(json.dumps(row) for row in [*rows, checks])
