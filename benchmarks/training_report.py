"""What `benchmarks/training.py` measured, as a section of docs/benchmarks.md with a plot."""

import importlib.metadata
import os
import time
from pathlib import Path
from typing import Any, Literal

import sections
import torch
from processor import processor_name

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
PLOT = PAGE.parent / "training_memory.png"
START, END = "<!-- training: written by benchmarks/training.py -->", "<!-- end of training -->"
LOCAL_BATCH = 1024
GPU = "python benchmarks/training.py --device cuda --batch 256 --precisions bfloat16 --compiled --write"
Precision = Literal["float32", "bfloat16"]


def facts(device: str) -> dict[str, Any]:
    """Where and with what."""
    if device == "cuda":
        machine = torch.cuda.get_device_name()
    else:
        machine = f"{processor_name()}, {torch.get_num_threads()} threads"
    versions = {name: importlib.metadata.version(name) for name in ("torch", "open_clip_torch", "timm")}
    return {
        "device": device,
        "machine": machine,
        "date": time.strftime("%Y-%m-%d"),
        "load": round(os.getloadavg()[0], 1),
        "versions": versions,
    }


def write_section(found: dict[str, Any]) -> None:
    """Put the tables into the page, and the curves beside it."""
    lines = ["## Training", "", _introduction(found), ""]
    if not found["steps"]:
        lines += [
            "The rates of this run are missing: other work took the machine. Memory does not depend on that."
        ]
    else:
        lines += ["| precision | siglip2, pairs/s | open_clip, pairs/s | ratio | siglip2, TFLOP/s |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for precision, each in found["steps"].items():
        rates = each["images_per_second"]
        lines.append(
            f"| {precision} | {rates['siglip2']:.2f} | {rates['open_clip']:.2f} | {each['ratio']:.2f} "
            f"| {each['teraflops']['siglip2']:.2f} |"
        )
        if "mfu" in each:
            lines += ["", f"{precision}: {each['mfu']['siglip2']:.0%} of the device's peak (MFU)."]
    if found["device"] != "cuda":
        lines += ["", f"No GPU was there: MFU and the ratio on one are not measured. `{GPU}` measures them."]
    if "loss_megabytes" in found:
        lines += ["", *_memory(found["loss_megabytes"])]
        _plot(found["loss_megabytes"])
    sections.write_section(PAGE, START, END, "\n".join([*lines, ""]))


def _introduction(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    shape = f"width {found['width']}, {found['depth']} blocks, {found['vocabulary']:,} pieces"
    kept = " Both keep the memory they free." if found["keep"] and found["device"] == "cpu" else ""
    return (
        f"One training step of B/16-256 ({shape}) with the sigmoid loss and AdamW on a batch of "
        f"{found['batch']}, fastest of {found['rounds']} rounds of both in turn, on {found['machine']}; "
        f"{found['date']}, load {found['load']} before; {versions}."
        f"{' Both compiled.' if found['compiled'] else ''}{kept}"
    )


def _memory(curves: dict[str, dict[str, float]]) -> list[str]:
    sizes = list(curves["siglip2"])
    lines = [
        f"Memory of the sigmoid loss and its gradients on one rank of {LOCAL_BATCH} images, by global batch, "
        "the embeddings aside, in MB:",
        "",
        f"| global batch | {' | '.join(f'{int(size):,}' for size in sizes)} |",
        f"| --- |{' ---: |' * len(sizes)}",
    ]
    lines += [
        f"| {name} | {' | '.join(f'{each:.0f}' for each in row.values())} |" for name, row in curves.items()
    ]
    return [*lines, "", f"![Memory of the sigmoid loss by global batch]({PLOT.name})"]


def _plot(curves: dict[str, dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for (name, points), colour in zip(curves.items(), ("#2f6fb0", "#d9822b"), strict=True):
        axes.plot([int(size) for size in points], list(points.values()), "o-", color=colour, label=name)
    axes.set_xlabel(f"global batch, {LOCAL_BATCH} images on each rank")
    axes.set_ylabel("memory of loss and gradients, MB a rank")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(PLOT, dpi=130)
