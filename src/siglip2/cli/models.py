"""`siglip2 models`: the released models, and the bundled one."""

import sys

from siglip2.config import DEFAULT_MODEL, PUBLISHED, PublishedCheckpoint


def models() -> None:
    """List the released models with their size and the figures that the paper prints for them."""
    rows = [_row(checkpoint) for checkpoint in PUBLISHED]
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title="SigLIP 2 models",
        caption="Figures in percent: ImageNet zero-shot top-1, COCO recall@1 from text to image and "
        f"from image to text.\nDownloads are float32. Default: {DEFAULT_MODEL}.\n"
        "Bundled, works offline: nano, a small demonstration model.",
        caption_justify="left",
    )
    table.add_column("model", no_wrap=True)
    for name in ("image", "parameters", "download", "ImageNet", "COCO T→I", "COCO I→T"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _row(checkpoint: PublishedCheckpoint) -> tuple[str, ...]:
    image_size, parameters = checkpoint.config.vision.image_size, checkpoint.config.num_parameters
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
        "any" if image_size is None else f"{image_size} px",
        f"{parameters / 1e6:,.0f} M",
        f"{4 * parameters / 1e9:.1f} GB",
        *shown,
    )
