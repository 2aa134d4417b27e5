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
MARKS = {
    "cpu": ("<!-- training: written by benchmarks/training.py -->", "<!-- end of training -->"),
    "cuda": (
        "<!-- training on a GPU: written by benchmarks/training.py -->",
        "<!-- end of training on a GPU -->",
    ),
}
LOCAL_BATCH = 1024
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
    title = "## Training on a GPU" if found["device"] == "cuda" else "## Training"
    lines = [title, "", _introduction(found), "", *_rates(found["steps"])]
    if "whole" in found:
        lines += ["", *_stages(found["whole"])]
    if "loss_megabytes" in found:
        lines += ["", *_memory(found["loss_megabytes"])]
        _plot(found["loss_megabytes"])
    sections.write_section(PAGE, *MARKS[found["device"]], "\n".join([*lines, ""]))


def _rates(steps: dict[str, dict[str, Any]]) -> list[str]:
    if not steps:
        return [
            "The rates of this run are missing: other work took the machine. Memory does not depend on that."
        ]
    lines = [
        "| precision | trainer | pairs/s | siglip2 is so many times as fast | TFLOP/s | of the peak (MFU) |"
    ]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for precision, each in steps.items():
        rates = each["images_per_second"]
        for name, rate in rates.items():
            share = f"{each['mfu'][name]:.1%}" if "mfu" in each else "-"
            lines.append(
                f"| {precision} | {name} | {rate:.2f} | {rates['siglip2'] / rate:.2f} "
                f"| {each['teraflops'][name]:.2f} | {share} |"
            )
    return lines


def _stages(stages: list[dict[str, Any]]) -> list[str]:
    lines = [
        "The stages of `base_patch16_256` with everything in them, ours alone, data ready on the device:",
        "",
    ]
    lines += ["| stage | pairs/s | TFLOP/s | of the peak (MFU) |", "| --- | ---: | ---: | ---: |"]
    for each in stages:
        share = f"{each['mfu']:.1%}" if "mfu" in each else "-"
        lines.append(
            f"| {each['stage']} | {each['images_per_second']:.2f} | {each['teraflops']:.2f} | {share} |"
        )
    return lines


def _introduction(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    shape = f"width {found['width']}, {found['depth']} blocks, {found['vocabulary']:,} pieces"
    steps = found.get("steps_a_round", 1)
    rounds = f"{found['rounds']} rounds{f' of {steps} steps' if steps > 1 else ''} in turn"
    kept = " Both keep the memory they free." if found["keep"] and found["device"] == "cpu" else ""
    return (
        f"One training step of B/16-256 ({shape}) with the sigmoid loss and AdamW on a batch of "
        f"{found['batch']}, fastest of {rounds}, on {found['machine']}; "
        f"{found['date']}, load {found['load']} before; {versions}."
        f"{' Ours is compiled block by block.' if found['compiled'] else ''}{kept}"
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
