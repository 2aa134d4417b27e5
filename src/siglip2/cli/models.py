"""`siglip2 models`: the released models, and the bundled one."""

import sys

from siglip2.config import DEFAULT_MODEL, PUBLISHED, ModelConfig, PublishedCheckpoint


def models() -> None:
    """List the models with their number of weights, size and the figures that the paper prints for them."""
    rows = [*(_row(checkpoint) for checkpoint in PUBLISHED), *_bundled_rows()]
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title="SigLIP 2 models",
        box=SIMPLE_HEAD,
        caption=f"On the hub: google/siglip2-MODEL. Default: {DEFAULT_MODEL}.\n"
        "Figures in percent: ImageNet zero-shot top-1, COCO recall@1 from text to image (T→I) and from "
        "image to text (I→T). Sizes as published, in float32.\n"
        "nano is bundled and works offline: a small demonstration model.",
        caption_justify="left",
    )
    table.add_column("model", no_wrap=True)
    for name in ("image", "weights", "size", "ImageNet", "T→I", "I→T"):
        table.add_column(name, justify="right")
    for name, *row in rows:
        table.add_row(name.removeprefix("google/siglip2-"), *row)
    Console().print(table)


def _bundled_rows() -> list[tuple[str, ...]]:
    from siglip2.weights.load import load_checkpoint
    from siglip2.weights.locate import BUNDLED, locate

    rows: list[tuple[str, ...]] = []
    for name in BUNDLED:
        config = load_checkpoint(name).config
        size = (locate(name) / "model.safetensors").stat().st_size
        rows.append((name, *_shape(config), f"{size / 1e6:.0f} MB", "", "", ""))
    return rows


def _shape(config: ModelConfig) -> tuple[str, str]:
    image_size = config.vision.image_size
    return "any" if image_size is None else f"{image_size} px", f"{config.num_parameters / 1e6:,.0f} M"


def _row(checkpoint: PublishedCheckpoint) -> tuple[str, ...]:
    figures = checkpoint.figures
    shown = (
        ("", "", "")
        if figures is None
        else (
            f"{figures.imagenet:.1f}",
            f"{figures.coco_text_to_image:.1f}",
            f"{figures.coco_image_to_text:.1f}",
        )
    )
    return (
        checkpoint.hub_id,
        *_shape(checkpoint.config),
        f"{4 * checkpoint.config.num_parameters / 1e9:.1f} GB",
        *shown,
    )
