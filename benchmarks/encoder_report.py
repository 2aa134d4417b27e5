"""What `benchmarks/encoder.py` measured, as a section of docs/benchmarks.md."""

import argparse
import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from sections import write_section

from siglip2.config import VisionConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
MARKS = {
    "cpu": ("<!-- encoder: written by benchmarks/encoder.py -->", "<!-- end of encoder -->"),
    "cuda": (
        "<!-- encoder on a GPU: written by benchmarks/encoder.py -->",
        "<!-- end of encoder on a GPU -->",
    ),
}
BASE = "transformers"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The fastest turn of one contender, in seconds."""

    name: str
    precision: str
    seconds: float


def table(head: str, rows: Sequence[Row], images: int, flops: float, peak_tflops: float | None) -> str:
    """Rates, and how many times `transformers` in the same precision and, if measured, as it loads a model.

    Args:
        head: what was encoded.
        rows: contenders, `transformers` among them in every precision.
        images: in a batch.
        flops: of a batch, at its real patches.
        peak_tflops: of the device, if known.
    """
    base = {row.precision: row.seconds for row in rows if row.name == BASE}
    lines = []
    for row in rows:
        rate = flops / row.seconds / 1e12
        cells = [
            row.name,
            row.precision,
            f"{images / row.seconds:.1f}",
            *([f"{base['float32'] / row.seconds:.2f}"] if "float32" in base else []),
            f"{base[row.precision] / row.seconds:.2f}",
            f"{rate:.2f}",
        ]
        cells += [f"{100 * rate / peak_tflops:.0f} %"] if peak_tflops else []
        lines.append(f"| {' | '.join(cells)} |")
    columns = [
        head,
        "",
        "images/s",
        *([f"times `{BASE}` float32"] if "float32" in base else []),
        f"times `{BASE}` in this precision",
        "TFLOP/s",
    ]
    columns += ["of the peak"] if peak_tflops else []
    rule = ["---", "---", *["---:"] * (len(columns) - 2)]
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join(rule)} |", *lines, "", summary(rows)]
    return "\n".join(lines) + "\n"


def summary(rows: Sequence[Row]) -> str:
    """Our fastest against the fastest of the others, in any precision and in float32."""
    ours = min(row.seconds for row in rows if row.name.startswith("siglip2"))
    others = [row for row in rows if not row.name.startswith("siglip2")]
    any_precision = min(row.seconds for row in others) / ours
    said = f"The fastest of siglip2 does {any_precision:.1f} times what the fastest of the others does"
    default = [row.seconds for row in others if row.precision == "float32"]
    if not default:
        return said + "."
    return (
        f"{said}, and {min(default) / ours:.1f} times what it does in float32, in which the others build a "
        "model."
    )


def image_flops(shape: VisionConfig, patches: int) -> float:
    """Multiplications and additions of one image: the linear layers, attention, the pooling head."""
    block = 2 * patches * shape.width * (4 * shape.width + 2 * shape.mlp_dim) + 4 * patches**2 * shape.width
    head = 2 * patches * shape.width * 2 * shape.width + 4 * shape.width * shape.mlp_dim
    return shape.depth * block + 2 * patches * shape.patch_dim * shape.width + head


def report(arguments: argparse.Namespace, tables: Sequence[str]) -> str:
    """The section."""
    versions = []
    for name in ("siglip2", "torch", "transformers", "timm", "openvino"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    where = " on a GPU" if arguments.device.startswith("cuda") else ""
    return (
        f"## Encoder{where}\n\nPooled and patch features of B/16-256 with random weights on "
        f"{device_name(arguments.device)}, {arguments.threads} thread(s) of {os.cpu_count()}, batch "
        f"{arguments.batch}, fastest of {arguments.repeats} turns; {time.strftime('%Y-%m-%d')}, load "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {', '.join(versions)}. TFLOP/s count "
        f"real patches only. {arguments.note}\n\n" + "\n".join(tables)
    )


def device_name(device: str) -> str:
    """As its maker calls it."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    import openvino as ov

    return ov.Core().get_property("CPU", "FULL_DEVICE_NAME")


def write(text: str, device: str) -> None:
    """Replace the section, or add it at the end."""
    write_section(PAGE, *MARKS[device.split(":")[0]], text)
