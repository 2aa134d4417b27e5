r"""Image features a second, pooled and per patch: siglip2, `transformers` and timm on the same shape.

    python benchmarks/encoder.py --threads 2                       # prints
    python benchmarks/encoder.py --write                           # and writes docs/benchmarks.md
    python benchmarks/encoder.py --device cuda --batch 256 --compile --peak-tflops 989 --precisions bfloat16 \
        --repeats 20 --write

Random weights of B/16-256. Fixed: pictures of 256 x 256. NaFlex: photographs of mixed aspect ratios and sizes
within 256 patches. Every contender runs in float32, which is how the other packages build a model, and in
bfloat16, or in those asked for. They take turns, so that other work on the machine falls on all of them, and
the fastest turn of each counts. timm needs torchvision; without it timm is left out, and the report says so.
"""

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from encoder_report import PAGE, Row, image_flops, report, table, write

from siglip2.config import ModelConfig, TextConfig, VisionConfig, published_config
from siglip2.inputs.batch import ImageBatch
from siglip2.network.init import build_initialised
from siglip2.network.model import SigLIP2
from siglip2.network.packed import encode_packed
from siglip2.weights.checkpoint import Checkpoint

GRIDS = ((16, 16), (8, 8), (12, 16), (6, 9), (20, 12), (9, 14), (4, 16), (16, 10))
"""Photographs of a mixed folder: some large, some smaller than the budget, in landscape and portrait."""

PRECISIONS = ("float32", "bfloat16")

Contender = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What every contender gets: (B, N, P) patches in [-1, 1], their mask, and patches high and wide."""

    patches: np.ndarray
    mask: np.ndarray
    grids: list[tuple[int, int]]
    naflex: bool

    @classmethod
    def random(cls, count: int, *, naflex: bool) -> "Batch":
        """Noise costs what photographs cost."""
        grids = [GRIDS[index % len(GRIDS)] if naflex else (16, 16) for index in range(count)]
        lengths = np.array([height * width for height, width in grids])
        mask = np.arange(lengths.max()) < lengths[:, None]
        values = np.random.default_rng(0).uniform(-1, 1, (*mask.shape, 768)).astype(np.float32)
        return cls(patches=values * mask[..., None], mask=mask, grids=grids, naflex=naflex)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--depth", type=int, help="of the tower instead of 12, to try the script")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, ours and theirs")
    parser.add_argument("--peak-tflops", type=float, help="of the device, for the share of it that is used")
    parser.add_argument("--note", default="", help="a sentence about this run, kept in the report")
    parser.add_argument("--write", action="store_true", help=f"write the section of {PAGE.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tables = [measure(arguments, naflex=naflex) for naflex in (False, True)]
    text = report(arguments, tables)
    print(text)
    if arguments.write:
        write(text, arguments.device)


def measure(arguments: argparse.Namespace, *, naflex: bool) -> str:
    """One table."""
    shape = published_config("base", 16, 256).vision
    shape = replace(shape, image_size=None if naflex else 256, depth=arguments.depth or shape.depth)
    text = TextConfig(width=shape.width, depth=1, mlp_dim=64, num_heads=12, vocab_size=100, context_length=8)
    model = build_initialised(ModelConfig(vision=shape, text=text)).eval().requires_grad_(False)
    batch = Batch.random(arguments.batch, naflex=naflex)
    contenders = ours(model, batch, arguments) | theirs(shape, batch, arguments)
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
    flops = sum(image_flops(shape, height * width) for height, width in batch.grids)
    rows = [
        Row(name=name, precision=precision, seconds=min(taken)) for (name, precision), taken in times.items()
    ]
    what = "naflex" if naflex else "fixed"
    head = f"{what}: {len(batch.grids)} images, {batch.mask.sum()} patches"
    return table(head, rows, len(batch.grids), flops, arguments.peak_tflops)


def ours(model: SigLIP2, batch: Batch, arguments: argparse.Namespace) -> dict[tuple[str, str], Contender]:
    found: dict[tuple[str, str], Contender] = {}
    grids = np.array(batch.grids, np.int32)
    images = ImageBatch(patches=batch.patches, grids=grids, mask=batch.mask if batch.naflex else None)
    checkpoint = Checkpoint.from_tensors(model.config, model.state_dict())
    for precision in arguments.precisions if arguments.device == "cpu" else ():
        # Not at the top: a machine with a GPU need not have it.
        from siglip2.runtime.openvino import OpenVinoRuntime

        runtime = OpenVinoRuntime(checkpoint, precision=precision, threads=arguments.threads)
        found["siglip2, openvino", precision] = lambda runtime=runtime: runtime.encode_images(
            images, return_patches=True
        )
    for precision in arguments.precisions:
        tower = copied(model.vision_model, arguments.device, precision)
        inputs, mask, sizes = on_device(batch, arguments.device, precision)
        options = {"grids": sizes, "mask": mask} if batch.naflex else {}
        name = "siglip2, torch" + (", padded" if batch.naflex else "")
        found |= both_ways(name, precision, tower, lambda run, x=inputs, o=options: run(x, **o), arguments)
        if batch.naflex:
            packed = inputs[mask]
            for compiled in (False, True) if arguments.compile else (False,):
                here = copied(tower, arguments.device, precision)
                if compiled:
                    for layer in here.encoder.layers:
                        layer.compile()
                name = "siglip2, torch, packed" + (", compiled" if compiled else "")
                found[name, precision] = lambda here=here, packed=packed: encode_packed(
                    here, packed, batch.grids
                )
    return found


def theirs(
    shape: VisionConfig, batch: Batch, arguments: argparse.Namespace
) -> dict[tuple[str, str], Contender]:
    import transformers

    sizes: dict[str, Any] = dict(
        hidden_size=shape.width, num_hidden_layers=shape.depth, intermediate_size=shape.mlp_dim,
        num_attention_heads=shape.num_heads, patch_size=16,
    )  # fmt: skip
    if batch.naflex:
        tower = transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**sizes, num_patches=256))
    else:
        tower = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**sizes, image_size=256))
    vit = timm_tower(shape)
    found: dict[tuple[str, str], Contender] = {}
    for precision in arguments.precisions:
        inputs, mask, grids = on_device(batch, arguments.device, precision)
        fed = (inputs, mask.int(), grids) if batch.naflex else (pictures_of(inputs),)
        here = copied(tower, arguments.device, precision)
        found |= both_ways("transformers", precision, here, lambda run, fed=fed: run(*fed), arguments)
        if vit is not None:
            here = copied(vit, arguments.device, precision)
            feed = {"patches": inputs, "patch_coord": coordinates(batch).to(mask.device), "patch_valid": mask}
            found["timm NaFlexViT", precision] = lambda here=here, feed=feed: pooled_by_timm(here, feed)
    return found


def both_ways(
    name: str,
    precision: str,
    tower: torch.nn.Module,
    call: Callable[[Callable[..., object]], object],
    arguments: argparse.Namespace,
) -> dict[tuple[str, str], Contender]:
    """A tower as it is, and on request compiled."""
    found: dict[tuple[str, str], Contender] = {(name, precision): lambda: call(tower)}
    if arguments.compile:
        compiled = torch.compile(tower)
        found[f"{name}, compiled", precision] = lambda: call(compiled)
    return found


def timm_tower(shape: VisionConfig) -> Any:
    """NaFlexViT of the same shape, or None without timm."""
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        print(f"timm's NaFlexViT is left out: {error}")
        return None
    return timm.create_model(
        "naflexvit_base_patch16_siglip", pretrained=False, num_classes=0, depth=shape.depth
    )


def pooled_by_timm(vit: Any, feed: dict[str, torch.Tensor]) -> torch.Tensor:
    patches = vit.forward_features(**feed)["patches"]
    return vit.forward_head(patches, patch_valid=feed["patch_valid"])


def coordinates(batch: Batch) -> torch.Tensor:
    """(B, N, 2) row and column of each patch, 0 at padding."""
    found = torch.zeros(*batch.mask.shape, 2, dtype=torch.long)
    for row, (height, width) in zip(found, batch.grids, strict=True):
        row[: height * width] = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    return found


def pictures_of(patches: torch.Tensor) -> torch.Tensor:
    """(B, 256, 768) patches as (B, 3, 256, 256)."""
    return patches.reshape(-1, 16, 16, 16, 16, 3).permute(0, 5, 1, 3, 2, 4).reshape(-1, 3, 256, 256)


def copied(module: torch.nn.Module, device: str, precision: str) -> Any:
    """The weights in their own copy of that precision."""
    return copy.deepcopy(module).eval().requires_grad_(False).to(device, getattr(torch, precision))


def on_device(batch: Batch, device: str, precision: str) -> Sequence[torch.Tensor]:
    """Patches, mask and grids; `transformers` and we take grids on the processor."""
    patches = torch.from_numpy(batch.patches).to(device, getattr(torch, precision))
    return patches, torch.from_numpy(batch.mask).to(device), torch.tensor(batch.grids)


if __name__ == "__main__":
    main()
