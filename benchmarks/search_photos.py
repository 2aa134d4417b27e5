"""Photos of 12 megapixels into a collection, and the same by others' ways: prints one JSON object.

Started by `search.py`, one way and one process at a time. The others' ways are written after the programs
they are named for: rclip decodes with Pillow in threads ahead of the model, clip-retrieval in the worker
processes of a torch loader; both here with `transformers` and the same weights.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (4000, 3000)
BATCH = 16
WARM = 2
TURNS = 2
"""Measured, after one to warm up; the fastest counts."""


def make_photos(sources: Path, folder: Path, count: int, seed: int = 0) -> None:
    """JPEG files of 12 megapixels: seeded parts of photographs, enlarged, with a little grain."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    files = sorted(path for path in sources.iterdir() if path.suffix in (".jpg", ".png"))
    for index in range(count):
        with Image.open(files[int(rng.integers(len(files)))]) as opened:
            photo = opened.convert("RGB")
        width, height = photo.size
        wide = min(width, height * 4 // 3) * rng.uniform(0.7, 1)
        left, top = rng.uniform(0, width - wide), rng.uniform(0, max(height - wide * 3 / 4, 0))
        box = (left, top, left + wide, min(top + wide * 3 / 4, height))
        large = photo.resize(SIZE, Image.Resampling.BICUBIC, box=box)
        grain = rng.normal(0, 4, (SIZE[1] // 2, SIZE[0] // 2)).astype(np.float32)
        noise = np.asarray(Image.fromarray(grain).resize(SIZE, Image.Resampling.NEAREST))
        pixels = np.clip(np.asarray(large, np.float32) + noise[..., None], 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:04}.jpg", quality=90)


def photo_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def pixels_of(path: Path) -> np.ndarray:
    """(3, 256, 256) float32, by Pillow, as the others' preprocessing does it."""
    with Image.open(path) as photo:
        small = photo.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32).transpose(2, 0, 1) / 127.5 - 1


class LoadedPhotos:
    """A torch dataset."""

    def __init__(self, files: list[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        return pixels_of(self.files[index])


def in_threads(files: list[Path], threads: int) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(threads) as pool:
        decoded = pool.map(pixels_of, files)
        for start in range(0, len(files), BATCH):
            yield np.stack([next(decoded) for _ in files[start : start + BATCH]])


def in_processes(files: list[Path], threads: int) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    yield from DataLoader(LoadedPhotos(files), BATCH, num_workers=threads)  # pyright: ignore


def processor_seconds() -> float:
    """Of this process and its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def by_transformers(way: str, model_folder: Path, folder: Path, threads: int) -> tuple[float, float]:
    """Seconds from files to vectors, the fastest of some turns, and processor seconds of one."""
    import torch
    from transformers import SiglipModel

    torch.set_num_threads(threads)
    model = SiglipModel.from_pretrained(model_folder).eval()
    files = photo_files(folder)
    batches = in_threads if way == "rclip's way" else in_processes
    with torch.inference_mode():
        for _ in range(WARM):
            model.get_image_features(pixel_values=torch.zeros(BATCH, 3, 256, 256))
        seconds, cpu = [], processor_seconds()
        for _ in range(TURNS):
            began = time.perf_counter()
            vectors = [
                model.get_image_features(pixel_values=torch.as_tensor(batch))
                for batch in batches(files, threads)
            ]
            seconds.append(time.perf_counter() - began)
    assert len(vectors) == -(-len(files) // BATCH)
    return min(seconds), (processor_seconds() - cpu) / TURNS


def by_us(model_folder: Path, folder: Path, place: Path) -> dict[str, float]:
    """Seconds end to end into a new collection, of decoding alone and embedding alone; all cores for each."""
    import siglip2
    from siglip2.search import decoders
    from siglip2.search.collection import Collection
    from siglip2.search.decoders import Photo, decode_photos
    from siglip2.search.rows import SeenFile

    encoder = siglip2.load(model_folder, runtime="openvino")
    size = encoder.default_batch_size
    files = photo_files(folder)
    photos = [Photo(file=SeenFile(path=str(file), size=0, mtime_ns=0)) for file in files]

    def decode() -> float:
        began = time.perf_counter()
        decoded = list(decode_photos(photos, encoder.image_preprocessor, lambda _: False, ahead=size))
        assert all(each.prepared for each in decoded)
        return time.perf_counter() - began

    small = [np.zeros((256, 256, 3), np.uint8)] * len(files)

    def embed() -> float:
        began = time.perf_counter()
        encoder.embed_images(small)
        return time.perf_counter() - began

    def cpu() -> float:
        files = [Path(f"/proc/{each._process.pid}/stat") for each in decoders._idle._processes]
        ticks = sum(int(part) for file in files for part in file.read_text().split()[13:15])
        return processor_seconds() + ticks / os.sysconf("SC_CLK_TCK")

    def index(name: str) -> tuple[float, float]:
        with Collection.open(place.with_name(name), encoder) as collection:
            began, before = time.perf_counter(), cpu()
            assert collection.add([folder]).embedded == len(files)
            return time.perf_counter() - began, cpu() - before

    turns = [(decode(), embed(), *index(f"{place.name}-{turn}")) for turn in range(1 + TURNS)][1:]
    best = np.min(turns, axis=0).tolist()
    return dict(zip(("decode_s", "embed_s", "seconds", "cpu_s"), best, strict=True))


def main(way: str, model_folder: Path, folder: Path, place: Path, threads: int) -> dict[str, float]:
    if hasattr(os, "sched_setaffinity"):
        # OpenVINO does not look at OMP_NUM_THREADS: the same processors for all, whatever they think of it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    count = len(photo_files(folder))
    if way != "siglip2":
        seconds, cpu = by_transformers(way, model_folder, folder, threads)
        return {"photos_per_s": count / seconds, "cpu_s": cpu / count}
    taken = by_us(model_folder, folder, place)
    decode, embed, seconds = taken["decode_s"], taken["embed_s"], taken["seconds"]
    return {
        "photos_per_s": count / seconds,
        "cpu_s": taken["cpu_s"] / count,
        "decode_per_s": count / decode,
        "embed_per_s": count / embed,
        "share_of_slower": max(decode, embed) / seconds,
        # Both want the same cores, each of which does one thing at a time.
        "share_of_possible": (decode + embed) / seconds,
    }


if __name__ == "__main__":
    _, name, weights, photos, collection, processors = sys.argv
    result = main(name, Path(weights), Path(photos), Path(collection), int(processors))
    print("\n" + json.dumps({key: round(value, 3) for key, value in result.items()}), flush=True)
    os._exit(0)
