"""Image features a second, pooled and per patch: siglip2, `transformers` and timm on the same shape.

    python benchmarks/encoder.py --threads 2                       # prints
    python benchmarks/encoder.py --write                           # and writes docs/benchmarks.md
    python benchmarks/encoder.py --device cuda --batch 256 --dtype bfloat16 --peak-tflops 989

Random weights of B/16-256, in float32 on a processor. Fixed: pictures of 256 x 256. NaFlex: photographs of
mixed aspect ratios and sizes within 256 patches. The contenders take turns, so that other work on the machine
falls on all of them, and the fastest turn of each counts.
"""

import argparse
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Siglip2VisionConfig, Siglip2VisionModel, SiglipVisionConfig, SiglipVisionModel

from siglip2.config import ModelConfig, TextConfig, VisionConfig, published_config
from siglip2.inputs.batch import ImageBatch
from siglip2.network.init import build_initialised
from siglip2.network.model import SigLIP2
from siglip2.network.packed import encode_packed
from siglip2.runtime.openvino import OpenVinoRuntime
from siglip2.weights.checkpoint import Checkpoint

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
START, END = "<!-- encoder: written by benchmarks/encoder.py -->", "<!-- end of encoder -->"
GRIDS = ((16, 16), (8, 8), (12, 16), (6, 9), (20, 12), (9, 14), (4, 16), (16, 10))
"""Photographs of a mixed folder: some large, some smaller than the budget, in landscape and portrait."""

Contender = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, help="of the device, for the share of it that is used")
    parser.add_argument("--note", default="", help="a sentence about this run, kept in the report")
    parser.add_argument("--write", action="store_true", help=f"write the section of {PAGE.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tables = [measure(name, arguments) for name in ("fixed", "naflex")]
    text = report(arguments, tables)
    print(text)
    if arguments.write:
        write(text)


def measure(name: str, arguments: argparse.Namespace) -> str:
    """One table."""
    shape = published_config("base", 16, 256).vision
    shape = replace(shape, image_size=None) if name == "naflex" else shape
    grids = [GRIDS[index % len(GRIDS)] if name == "naflex" else (16, 16) for index in range(arguments.batch)]
    text = TextConfig(width=shape.width, depth=1, mlp_dim=64, num_heads=12, vocab_size=100, context_length=8)
    model = build_initialised(ModelConfig(vision=shape, text=text)).eval().requires_grad_(False)
    contenders = ours(model, grids, arguments) | theirs(shape, model, grids, arguments)
    times = {label: [] for label in contenders}
    with torch.inference_mode():
        for turn in range(arguments.repeats + 1):
            for label, run in contenders.items():
                started = time.perf_counter()
                run()
                if arguments.device.startswith("cuda"):
                    torch.cuda.synchronize()
                if turn:  # the first compiles and warms up
                    times[label].append(time.perf_counter() - started)
    flops = sum(image_flops(shape, height * width) for height, width in grids)
    base = min(times["transformers"])
    rows = []
    for label, taken in times.items():
        best = min(taken)
        share = (
            "" if not arguments.peak_tflops else f"{100 * flops / best / arguments.peak_tflops / 1e12:.0f} %"
        )
        rows.append(
            f"| {label} | {len(grids) / best:.2f} | {base / best:.2f} | {flops / best / 1e9:.0f} | {share} |"
        )
    patches = sum(height * width for height, width in grids)
    head = f"{name}: {len(grids)} images, {patches} patches"
    return (
        f"| {head} | images/s | times `transformers` | GFLOP/s at real patches | of the peak |\n"
        "| --- | ---: | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


def ours(model: SigLIP2, grids: list, arguments: argparse.Namespace) -> dict[str, Contender]:
    naflex = model.config.vision.naflex
    patches, mask = padded(grids)
    batch = ImageBatch(patches=patches, grids=np.array(grids, np.int32), mask=mask if naflex else None)
    found: dict[str, Contender] = {}
    if arguments.device == "cpu" and arguments.dtype == "float32":
        checkpoint = Checkpoint.from_tensors(model.config, model.state_dict())
        runtime = OpenVinoRuntime(checkpoint, precision="float32", threads=arguments.threads)
        found["siglip2, openvino"] = lambda: runtime.encode_images(batch, return_patches=True)
    dtype = getattr(torch, arguments.dtype)
    tower = model.vision_model.to(arguments.device, dtype)
    inputs = torch.from_numpy(patches).to(arguments.device, dtype)
    masks = torch.from_numpy(mask).to(arguments.device)
    sizes = torch.tensor(grids)
    found["siglip2, torch" + (", padded" if naflex else "")] = lambda: tower(
        inputs, grids=sizes if naflex else None, mask=masks if naflex else None
    )
    if naflex:
        packed = inputs[masks]
        found["siglip2, torch, packed"] = lambda: encode_packed(tower, packed, grids)
    return found


def theirs(
    shape: VisionConfig, model: SigLIP2, grids: list, arguments: argparse.Namespace
) -> dict[str, Contender]:
    dtype = getattr(torch, arguments.dtype)
    sizes: dict[str, Any] = dict(
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        intermediate_size=shape.mlp_dim,
        num_attention_heads=shape.num_heads,
        patch_size=16,
    )
    patches, mask = padded(grids)
    if not shape.naflex:
        tower = SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=256))
        tower = tower.eval().to(arguments.device, dtype)
        pixels = torch.randn(len(grids), 3, 256, 256, device=arguments.device, dtype=dtype)
        return {"transformers": lambda: tower(pixels)}
    tower = Siglip2VisionModel(Siglip2VisionConfig(**sizes, num_patches=256))
    tower = tower.eval().to(arguments.device, dtype)
    inputs = torch.from_numpy(patches).to(arguments.device, dtype)
    masks, spatial = torch.from_numpy(mask).to(arguments.device), torch.tensor(grids)
    found: dict[str, Contender] = {"transformers": lambda: tower(inputs, masks.int(), spatial)}
    try:
        import timm
    except ImportError as error:
        print(f"timm's NaFlexViT is left out: {error}")
        return found
    vit: Any = timm.create_model("naflexvit_base_patch16_siglip", pretrained=False, num_classes=0)
    vit = vit.eval().to(arguments.device, dtype)
    coordinates = torch.zeros(len(grids), patches.shape[1], 2, dtype=torch.long, device=arguments.device)
    for row, (height, width) in zip(coordinates, grids, strict=True):
        row[: height * width] = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    feed = {"patches": inputs, "patch_coord": coordinates, "patch_valid": masks}
    found["timm NaFlexViT"] = lambda: vit.forward_head(
        vit.forward_features(feed)["patches"], patch_valid=masks
    )
    return found


def padded(grids: list) -> tuple[np.ndarray, np.ndarray]:
    """(B, N, P) random patches in [-1, 1] and their (B, N) mask."""
    lengths = np.array([height * width for height, width in grids])
    mask = np.arange(lengths.max()) < lengths[:, None]
    values = np.random.default_rng(0).uniform(-1, 1, (*mask.shape, 768)).astype(np.float32)
    return values * mask[..., None], mask


def image_flops(shape: VisionConfig, patches: int) -> float:
    """Multiplications and additions of one image: the linear layers, attention, the pooling head."""
    block = 2 * patches * shape.width * (4 * shape.width + 2 * shape.mlp_dim) + 4 * patches**2 * shape.width
    head = 2 * patches * shape.width * 2 * shape.width + 4 * shape.width * shape.mlp_dim
    return shape.depth * block + 2 * patches * shape.patch_dim * shape.width + head


def report(arguments: argparse.Namespace, tables: list[str]) -> str:
    names = ("siglip2", "torch", "transformers", "timm", "openvino")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    return (
        f"## Encoder\n\nPooled and patch features of B/16-256 with random weights, {arguments.dtype} on "
        f"{device_name(arguments.device)}, {arguments.threads} thread(s) of {os.cpu_count()}, batch "
        f"{arguments.batch}, fastest of {arguments.repeats} turns; load {os.getloadavg()[0]:.1f}; Python "
        f"{platform.python_version()}, {', '.join(versions)}. {arguments.note}\n\n" + "\n".join(tables)
    )


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    import openvino as ov

    return ov.Core().get_property("CPU", "FULL_DEVICE_NAME")


def write(text: str) -> None:
    """Replace the section, or add it at the end."""
    page = PAGE.read_text(encoding="utf-8")
    section = f"{START}\n{text}{END}\n"
    before, found, rest = page.partition(START)
    after = rest.partition(END)[2].lstrip("\n") if found else ""
    PAGE.write_text((before if found else page.rstrip("\n") + "\n\n") + section + after, encoding="utf-8")


if __name__ == "__main__":
    main()
