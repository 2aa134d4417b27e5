"""Small captioned pictures in the forms that people have them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

LANGUAGES = {
    "en": "a brown dog runs over the green grass",
    "de": "ein brauner Hund rennt über die grüne Wiese",
    "fr": "un chien brun court sur l'herbe verte du jardin",
    "zh": "一只棕色的狗在绿色的草地上奔跑",
}


def picture(number: int, size: tuple[int, int] = (40, 30), form: str = "JPEG") -> bytes:
    """A picture of random cells that no other number has."""
    cells = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC).save(buffer, form)
    return buffer.getvalue()


def caption(number: int) -> str:
    """In each language by turns, nine in ten English."""
    language = "en" if number % 10 else ["de", "fr", "zh"][number // 10 % 3]
    return f"{LANGUAGES[language]} {number}"


def table_folder(folder: Path, count: int, *, broken: tuple[int, ...] = (), ending: str = "csv") -> Path:
    """Photos with a table of captions."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(count):
        content = picture(number)
        (folder / f"{number:04d}.jpg").write_bytes(
            content[: len(content) // 3] if number in broken else content
        )
        rows.append({"path": f"{number:04d}.jpg", "caption": caption(number)})
    path = folder / f"captions.{ending}"
    if ending == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["path", "caption"])
            writer.writeheader()
            writer.writerows(rows)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return folder
