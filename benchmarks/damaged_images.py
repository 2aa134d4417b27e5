"""Read thousands of damaged images; each must become patches or `InvalidImage`, within 5 s and 1 GB.

    python benchmarks/damaged_images.py --count 10000 --seed 0

Images are made one at a time, in memory: drawn, written in every format that Pillow writes here, and then cut
off, flipped in single bits, overwritten, given another size or another format's header, or built as bombs.
Prints one JSON object; the exit code is 1 where something else than patches or InvalidImage came out, or
where an image took more than 5 s or the process more than 1 GB.
"""

import argparse
import faulthandler
import io
import json
import struct
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from process_memory import STATUS, peak_kilobytes

from siglip2.config import published_config
from siglip2.errors import InvalidImage
from siglip2.inputs.image import ImagePreprocessor

SECONDS_LIMIT = 5.0
MEGABYTES_LIMIT = 1000


def drawn_image(rng: np.random.Generator, mode: str) -> Image.Image:
    """A small picture with smooth and noisy parts."""
    height, width = rng.integers(1, 160, 2)
    ramp = np.linspace(0, 255, width)[None, :, None] * np.linspace(0.2, 1, height)[:, None, None]
    noise = rng.integers(0, 60, (height, width, 4))
    pixels = np.clip(ramp * rng.uniform(0, 1, 4) + noise, 0, 255).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels, "RGBA").convert(mode)


WRITERS: list[tuple[str, str, dict[str, object]]] = [
    ("JPEG", "RGB", {"quality": 80}),
    ("JPEG", "RGB", {"quality": 70, "progressive": True}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "I;16", {}),
    ("PNG", "1", {}),
    ("WEBP", "RGB", {"quality": 70, "method": 0}),
    ("WEBP", "RGBA", {"lossless": True, "method": 0}),
    ("GIF", "P", {}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "CMYK", {}),
    ("TIFF", "LAB", {}),
    ("TIFF", "I;16", {}),
    ("AVIF", "RGB", {"quality": 50, "speed": 10}),
]


def sound_file(rng: np.random.Generator) -> tuple[str, bytes]:
    """A valid file in a random format, some with an EXIF orientation or with several frames."""
    image_format, mode, options = WRITERS[rng.integers(len(WRITERS))]
    picture = drawn_image(rng, "RGB" if mode == "LAB" else mode)
    if mode == "LAB":
        picture = Image.fromarray(np.asarray(picture), "RGB")
        picture = Image.merge("LAB", picture.split())
    options = dict(options)
    if image_format in ("JPEG", "WEBP", "PNG", "AVIF") and rng.random() < 0.4:
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(0, 10))
        options["exif"] = exif
    if image_format in ("GIF", "WEBP", "PNG") and mode != "I;16" and rng.random() < 0.2:
        options |= {"save_all": True, "append_images": [picture.transpose(Image.Transpose.ROTATE_180)]}
    file = io.BytesIO()
    picture.save(file, image_format, **options)
    return image_format, file.getvalue()


def cut_off(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: rng.integers(0, len(data))]


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 12)):
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flip_header_bits(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        changed[rng.integers(min(len(data), 96))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def overwrite(rng: np.random.Generator, data: bytes) -> bytes:
    start = int(rng.integers(len(data)))
    length = int(rng.integers(1, 64))
    return data[:start] + rng.bytes(min(length, len(data) - start)) + data[start + length :]


def remove_middle(rng: np.random.Generator, data: bytes) -> bytes:
    start = int(rng.integers(len(data)))
    return data[:start] + data[start + int(rng.integers(1, 200)) :]


def large_numbers(rng: np.random.Generator, data: bytes) -> bytes:
    """Put the largest 16- or 32-bit number somewhere in the header, where sizes and lengths stand."""
    start = int(rng.integers(min(len(data), 200)))
    number = (b"\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\x00\x00\xff\xff")[rng.integers(4)]
    return data[:start] + number + data[start + len(number) :]


def wrong_header(rng: np.random.Generator, data: bytes) -> bytes:
    heads = (
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        b"RIFF\x00\x01\x00\x00WEBPVP8 ",
        b"GIF89a",
        b"BM",
        b"II*\x00\x08\x00\x00\x00",
        b"\x00\x00\x00\x18ftypheic",
        b"\x00\x00\x00\x18ftypavif",
        b"\x00\x00\x00\x18ftypmif1",
    )
    head = heads[rng.integers(len(heads))]
    return head + data[len(head) :]


def random_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    del data
    return rng.bytes(int(rng.integers(0, 2000)))


DAMAGES: list[Callable[[np.random.Generator, bytes], bytes]] = [
    cut_off,
    flip_bits,
    flip_header_bits,
    overwrite,
    remove_middle,
    large_numbers,
    wrong_header,
    random_bytes,
]


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_size(width: int, height: int, *, bits: int = 8, rows: int = 100, text: int = 0) -> bytes:
    """A grey PNG that claims any size, with `rows` black rows and a compressed comment of `text` bytes."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    line_bytes = 1 + (width * bits + 7) // 8
    comment = _png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * text)) if text else b""
    body = _png_chunk(b"IDAT", zlib.compress(bytes(line_bytes * min(rows, height))))
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header) + comment + body + _png_chunk(b"IEND", b"")


def jpeg_of_size(rng: np.random.Generator, width: int, height: int, scans: int = 1) -> bytes:
    """A JPEG whose header claims any size; `scans` repeats the scan of a progressive file."""
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(file, "JPEG", progressive=scans > 1)
    data = file.getvalue()
    frame = data.index(b"\xff\xc2" if scans > 1 else b"\xff\xc0") + 5
    data = data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]
    first = data.index(b"\xff\xda")
    second = data.find(b"\xff\xda", first + 2)
    return data[:first] + data[first:second] * (scans - 1) + data[first:] if scans > 1 else data


def bomb(rng: np.random.Generator) -> bytes:
    """A small file that would fill memory or take minutes."""
    side = int(rng.integers(20_000, 65_000))
    sides = struct.pack("<HH", side, side)
    bombs: list[Callable[[], bytes]] = [
        lambda: png_of_size(side, side, bits=1),
        lambda: png_of_size(2**31 - 1, int(rng.integers(1, 2**31 - 1)), rows=0),
        lambda: png_of_size(64, 64, text=70_000_000 if rng.random() < 0.1 else 2_000_000),
        lambda: png_of_size(7000, 7000, bits=1, rows=7000),  # within the limit, and sound
        lambda: b"GIF89a" + sides + b"\x00\x00\x00," + b"\0\0\0\0" + sides + b"\x00\x08\x02\x00\x01\x00\x3b",
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, side, side, 1, 24, *[0] * 6),
        lambda: jpeg_of_size(rng, side, side),
        lambda: jpeg_of_size(rng, 8000, 6000, scans=1),
        lambda: jpeg_of_size(rng, 6000, 6000, scans=int(rng.integers(2, 400))),
        lambda: b"RIFF\xff\xff\xff\x00WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\x3f\0\xff\x3f\0" + rng.bytes(40),
    ]
    return bombs[rng.integers(len(bombs))]()


def damaged_images(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of damaged images, the same for the same seed; two in a hundred are bombs."""
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        if rng.random() < 0.02:
            yield f"{number}-bomb", bomb(rng)
            continue
        image_format, data = sound_file(rng)
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        yield f"{number}-{image_format}-{damage.__name__}", damage(rng, data)


def peak_megabytes() -> float:
    """Most memory that this process ever held, or 0 where the system does not say."""
    if STATUS.exists():
        return peak_kilobytes() / 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def check(count: int, seed: int) -> dict[str, object]:
    """Read `count` damaged images and count what came out."""
    fixed = ImagePreprocessor(published_config("base", 16, 256).vision)
    naflex = ImagePreprocessor(published_config("base", 16, None).vision)
    results: Counter[str] = Counter()
    by_damage: Counter[str] = Counter()
    other: list[str] = []
    slowest = largest = (0.0, "")
    started = time.perf_counter()
    for number, (name, data) in enumerate(damaged_images(count, seed)):
        faulthandler.dump_traceback_later(12 * SECONDS_LIMIT, exit=True)  # for a decoder that never returns
        begun = time.perf_counter()
        try:
            (naflex if number % 2 else fixed).prepare_one(data)
            outcome = "patches"
        except InvalidImage:
            outcome = "InvalidImage"
        except Exception:
            outcome = "other"
            other.append(f"{name}: {traceback.format_exc(limit=-3)}")
        slowest = max(slowest, (time.perf_counter() - begun, name))
        largest = max(largest, (peak_megabytes(), name), key=lambda pair: pair[0])
        results[outcome] += 1
        by_damage[f"{name.split('-')[-1]}: {outcome}"] += 1
    faulthandler.cancel_dump_traceback_later()
    return {
        "count": count,
        "seed": seed,
        "seconds": round(time.perf_counter() - started, 1),
        "slowest_seconds": round(slowest[0], 2),
        "slowest": slowest[1],
        "peak_megabytes": round(largest[0]),
        "peak_reached_at": largest[1],
        "results": dict(results),
        "by_damage": dict(sorted(by_damage.items())),
        "other": other,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    report = check(arguments.count, arguments.seed)
    print(json.dumps(report, indent=1))
    slow, large = report["slowest_seconds"], report["peak_megabytes"]
    assert isinstance(slow, float)
    assert isinstance(large, int)
    return int(bool(report["other"]) or slow > SECONDS_LIMIT or large > MEGABYTES_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
