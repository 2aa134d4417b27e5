"""What the inference benchmark runs on: random weights in the size of B/16-256, and large photographs."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import siglip2
from siglip2.config import published_config
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.hf import write_hf
from siglip2.weights.shapes import expected_shapes
from siglip2.weights.tensor import StoredTensor

CONFIG = published_config("base", 16, 256)
PHOTO_SIZE = (4000, 3000)
"""12 megapixels."""


def default_tokenizer() -> Path | None:
    """The Gemma vocabulary of the research data, else the one bundled with `nano`, else none."""
    repository = Path(__file__).resolve().parent.parent
    shared = Path(os.environ.get("SIGLIP2_SHARED", repository.parent / "shared"))
    gemma = shared / "data" / "gemma_tokenizer" / "tokenizer.json.gz"
    bundled = Path(siglip2.__file__).parent / "assets" / "nano" / "tokenizer.json"
    return next((path for path in (gemma, bundled) if path.exists()), None)


def make_weights(folder: Path, tokenizer: Path | None) -> None:
    """A Hugging Face folder with random float32 weights; left alone if it is there."""
    if (folder / "model.safetensors").exists():
        return
    if tokenizer is None:
        raise SystemExit("no tokenizer.json found: name one with --tokenizer")
    folder.mkdir(parents=True, exist_ok=True)
    unpacked = folder / "tokenizer.json"
    if tokenizer.suffix == ".gz":
        unpacked.write_bytes(gzip.decompress(tokenizer.read_bytes()))
    else:
        shutil.copy(tokenizer, unpacked)
    generator = np.random.default_rng(0)
    tensors = {}
    for name, shape in expected_shapes(CONFIG).items():
        values = generator.standard_normal(shape, np.float32) * np.float32(0.02)
        if "norm" in name and name.endswith("weight"):
            values += 1
        tensors[name] = StoredTensor.of(values)
    write_hf(Checkpoint(config=CONFIG, tensors=tensors, tokenizer=unpacked), folder)


def make_photos(folder: Path, count: int) -> Path:
    """JPEG files with the smooth spectrum and the file size of photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    width, height = PHOTO_SIZE
    for index in range(count):
        path = folder / f"{index:02d}.jpg"
        if path.exists():
            continue
        layers = []
        for scale in (4, 16, 64):
            size = (height // scale, width // scale, 3)
            pixels = generator.integers(0, 256, size, np.uint8)
            layers.append(Image.fromarray(pixels).resize(PHOTO_SIZE, Image.Resampling.BICUBIC))
        photo = Image.blend(Image.blend(layers[0], layers[1], 0.7), layers[2], 0.6)
        photo.filter(ImageFilter.SHARPEN).save(path, quality=90)
    return folder
