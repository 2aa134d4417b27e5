# ruff: noqa: D102
"""One contender, one task, one process: prints one JSON object. Started by `inference.py`."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

LABELS = ("a photo of a cat", "a photo of a dog")
BATCHES = (1, 8, 32)
Precision = Literal["auto", "int8"]


def started_at() -> float:
    """When this process was started, on the clock of time.time()."""
    ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def memory() -> dict:
    """Memory that this process alone holds, in MB: without file pages, and with those only it has mapped."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    unique = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"anonymous_mb": kilobytes["Anonymous"] // 1024, "unique_mb": unique // 1024}


class Transformers:
    """`AutoModel` and `AutoProcessor` as their documentation shows them."""

    dtype: str | None = None

    def load(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel

        self.torch = torch
        self.folder = folder
        kind = {} if self.dtype is None else {"dtype": getattr(torch, self.dtype)}
        self.model = AutoModel.from_pretrained(folder, **kind).eval()

    def encoder(self, batch: int) -> Callable[[], object]:
        pixels = self.torch.randn(batch, 3, 256, 256).to(self.model.dtype)
        return lambda: self.embed(pixels)

    def embed(self, pixels):
        with self.torch.inference_mode():
            return self.model.get_image_features(pixel_values=pixels).pooler_output

    def classify(self, photo: Path) -> object:
        from PIL import Image
        from transformers import AutoImageProcessor, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        texts = tokenizer(list(LABELS), padding="max_length", max_length=64, return_tensors="pt")
        processor = AutoImageProcessor.from_pretrained(self.folder, backend="pil")
        images = processor(images=Image.open(photo), return_tensors="pt")
        with self.torch.inference_mode():
            pixels = images["pixel_values"].to(self.model.dtype)
            output = self.model(pixel_values=pixels, input_ids=texts["input_ids"])
        return output.logits_per_image.sigmoid().tolist()

    def from_disk(self, photos: list[Path]) -> Callable[[], object]:
        from PIL import Image
        from transformers import AutoImageProcessor

        processor = AutoImageProcessor.from_pretrained(self.folder, backend="pil")
        self.prepare = lambda: processor(images=[Image.open(p) for p in photos], return_tensors="pt")
        return lambda: self.embed(self.prepare()["pixel_values"].to(self.model.dtype))


class TorchBfloat16(Transformers):
    """The same in bfloat16."""

    dtype = "bfloat16"


class OnnxRuntime:
    """The towers of `transformers`, exported; pixels and tokens made with Pillow and `tokenizers` alone."""

    def load(self, folder: Path) -> None:
        import numpy as np
        import onnxruntime

        self.numpy, self.folder = np, folder
        self.open = lambda name: onnxruntime.InferenceSession(
            folder / name, providers=["CPUExecutionProvider"]
        )
        self.vision = self.open("vision.onnx")

    def encoder(self, batch: int) -> Callable[[], object]:
        shape = (batch, 3, 256, 256)
        pixels = self.numpy.random.default_rng(0).standard_normal(shape, self.numpy.float32)
        return lambda: self.vision.run(None, {"pixel_values": pixels})[0]

    def pixels(self, photo: Path):
        from PIL import Image

        image = Image.open(photo).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
        values = self.numpy.asarray(image, self.numpy.float32) / 127.5 - 1
        return values.transpose(2, 0, 1)[None]

    def classify(self, photo: Path) -> object:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        ids = self.numpy.zeros((len(LABELS), 64), self.numpy.int64)
        for row, label in zip(ids, LABELS, strict=True):
            tokens = [*tokenizer.encode(label, add_special_tokens=False).ids, 1]
            row[: len(tokens)] = tokens
        text: Any = self.open("text.onnx").run(None, {"input_ids": ids})[0]
        image: Any = self.vision.run(None, {"pixel_values": self.pixels(photo)})[0]
        return (image @ text.T).tolist()

    def from_disk(self, photos: list[Path]) -> Callable[[], object]:
        self.prepare = lambda: self.numpy.concatenate([self.pixels(photo) for photo in photos])
        return lambda: self.vision.run(None, {"pixel_values": self.prepare()})[0]


class Siglip2:
    """This project, through its public functions."""

    precision: Precision = "auto"

    def load(self, folder: Path) -> None:
        import siglip2

        self.model = siglip2.load(folder, runtime="openvino", precision=self.precision)

    def encoder(self, batch: int) -> Callable[[], object]:
        import numpy as np

        from siglip2.inputs.batch import ImageBatch

        patches = np.random.default_rng(0).integers(0, 256, (batch, 256, 768), np.uint8)
        images = ImageBatch(patches=patches, grids=np.full((batch, 2), 16, np.int32))
        return lambda: self.model.runtime.encode_images(images).pooled

    def classify(self, photo: Path) -> object:
        """As `siglip2 classify` does it: the labels first, whose tower goes before the photos come."""
        from siglip2 import ZeroShotClassifier

        classifier = ZeroShotClassifier(self.model, list(LABELS), templates="{}")
        classifier.embed_labels()
        self.held_before = memory()
        self.model.release_text_tower()
        return classifier.classify([photo])

    def classify_and_keep(self, photo: Path) -> object:
        """With both towers ready for more of both."""
        return self.model.score([photo], list(LABELS))

    def from_disk(self, photos: list[Path]) -> Callable[[], object]:
        from siglip2.inputs.image import ImagePreprocessor

        preprocessor = ImagePreprocessor(self.model.checkpoint.config.vision)
        self.prepare = lambda: preprocessor(photos)
        return lambda: self.model.embed_images(photos)


class Siglip2Int8(Siglip2):
    """The same in 8-bit integers."""

    precision = "int8"


CONTENDERS = {
    "transformers": Transformers,
    "torch-bf16": TorchBfloat16,
    "onnxruntime": OnnxRuntime,
    "siglip2": Siglip2,
    "siglip2-int8": Siglip2Int8,
}


def export_onnx(folder: Path) -> dict:
    """The two towers of `transformers` as ONNX files."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()

    class Tower(torch.nn.Module):
        def __init__(self, tower):
            super().__init__()
            self.tower = tower

        def forward(self, inputs):
            return self.tower(inputs).pooler_output

    examples = {
        "vision": (model.vision_model, "pixel_values", torch.randn(2, 3, 256, 256)),
        "text": (model.text_model, "input_ids", torch.ones(2, 64, dtype=torch.int64)),
    }
    for name, (tower, argument, example) in examples.items():
        torch.onnx.export(
            Tower(tower).eval(),
            (example,),
            folder / f"{name}.onnx",
            input_names=[argument],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=256)},),
            dynamo=True,
            external_data=True,
        )
    return {}


def best_seconds(run: Callable[[], object]) -> float:
    """The fastest of some runs: other work on the machine only ever adds time."""
    run()
    times: list[float] = []
    while len(times) < 2 or (sum(times) < 5 and len(times) < 40):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def products(batch: int, dtype: str) -> Callable[[], None]:
    """The matrix products of the image tower of B/16-256, and nothing else."""
    import torch

    tokens, width, hidden, heads, depth = 256, 768, 3072, 12, 12
    kind = getattr(torch, dtype)
    x = torch.randn(batch * tokens, width).to(kind)
    long = torch.randn(batch * tokens, hidden).to(kind)
    square, up, down = (
        torch.randn(o, i).to(kind) for o, i in ((width,) * 2, (hidden, width), (width, hidden))
    )
    query = torch.randn(batch * heads, tokens, width // heads).to(kind)
    weights = torch.randn(batch * heads, tokens, tokens).to(kind)
    linear = torch.nn.functional.linear

    def run() -> None:
        # Patch embedding, keys and values of the pooling head: three more square products.
        for _ in range(4 * depth + 3):
            linear(x, square)
        for _ in range(depth):
            linear(x, up)
            linear(long, down)
            torch.bmm(query, query.transpose(1, 2))
            torch.bmm(weights, query)

    return run


def machine() -> dict:
    import platform

    import openvino as ov

    core = ov.Core()
    return {
        "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "cores": os.cpu_count(),
        "arithmetic": core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
        "python": platform.python_version(),
    }


def quantize(folder: Path) -> dict:
    from siglip2.runtime.openvino_int8 import FOLDER, quantize
    from siglip2.weights.hf import read_hf

    if not (folder / FOLDER / "report.json").exists():
        quantize(read_hf(folder))
    return {}


def matmul_seconds(batch: int) -> dict:
    """The products alone, seconds an image."""
    return {name: best_seconds(products(batch, name)) / batch for name in ("float32", "bfloat16")}


def turns(tower: Callable[[], object], batch: int, pairs: int = 40) -> dict:
    """Tower and products one after the other, again and again: seconds an image of each, pair by pair.

    Every timed call has one of its kind before it, so that neither waits for the other's threads to sleep.
    """
    runs = {"tower": tower, "bfloat16": products(batch, "bfloat16")}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(pairs):
        for name, run in runs.items():
            run()
            start = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - start) / batch)
    return seconds


def main() -> None:
    name, task, folder = *sys.argv[1:3], Path(sys.argv[3])
    if name == "matmul":
        result: dict = matmul_seconds(8)
    elif name == "machine":
        result = machine()
    elif task == "export":
        result = export_onnx(folder)
    elif task == "quantize":
        result = quantize(folder)
    else:
        contender = CONTENDERS[name]()
        contender.load(folder)
        paths = sorted((folder / "photos").glob("*.jpg"))
        if task == "cold":
            contender.classify(paths[0])
            seconds, held = time.time() - started_at(), memory()
            before = getattr(contender, "held_before", held)
            result = {"seconds": seconds, **{name: max(held[name], before[name]) for name in held}}
        elif task == "both":
            contender.classify_and_keep(paths[0])
            result = memory()
        elif task == "speed":
            result = {str(size): size / best_seconds(contender.encoder(size)) for size in BATCHES}
        elif task == "turns":
            result = turns(contender.encoder(8), 8)
        else:
            embed = contender.from_disk(paths)
            result = {
                "photos_per_s": len(paths) / best_seconds(embed),
                "prepared_per_s": len(paths) / best_seconds(contender.prepare),
            }
    import json

    print(json.dumps(result))


if __name__ == "__main__":
    main()
