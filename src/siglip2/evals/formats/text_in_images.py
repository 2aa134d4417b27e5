"""Pictures full of text: TextCaps, HierText, SciCap and Screen2Words, as their publishers lay them out.

The paper does not say: which texts of HierText stand for a picture. Here it is all its legible lines in
reading order, cut by the tokenizer where it ends.
"""

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path

from siglip2.errors import InvalidInput
from siglip2.evals.formats.captioned import CaptionedImages, paired
from siglip2.evals.images import ImageFile


def read_textcaps(folder: Path) -> CaptionedImages:
    """`TextCaps_0.1_val.json`, five captions an image, and Open Images' photographs in `train_images/`."""
    texts: dict[str, list[str]] = defaultdict(list)
    for entry in json.loads((folder / "TextCaps_0.1_val.json").read_text(encoding="utf-8"))["data"]:
        texts[entry["image_id"]] = [text.strip() for text in entry["reference_strs"]]
    return paired(
        (ImageFile(name, folder / "train_images" / f"{name}.jpg"), each) for name, each in texts.items()
    )


def read_hiertext(folder: Path) -> CaptionedImages:
    """`gt/validation.jsonl.gz`, one JSON object in spite of its name, and the pictures in `validation/`."""
    with gzip.open(folder / "gt" / "validation.jsonl.gz", "rt", encoding="utf-8") as file:
        entries = json.load(file)["annotations"]

    def lines(entry: dict) -> list[str]:
        found = (line for paragraph in entry["paragraphs"] for line in paragraph["lines"])
        text = " ".join(line["text"] for line in found if line["legible"])
        return [text] if text else []

    return paired(
        (ImageFile(entry["image_id"], folder / "validation" / f"{entry['image_id']}.jpg"), lines(entry))
        for entry in entries
    )


def read_scicap(folder: Path) -> CaptionedImages:
    """Figures without subfigures: `SciCap-Caption-All/val/*.json` and `SciCap-No-Subfig-Img/val/`."""
    captions = sorted((folder / "SciCap-Caption-All" / "val").glob("*.json"))
    images = folder / "SciCap-No-Subfig-Img" / "val"
    found = []
    for path in captions:
        entry = json.loads(path.read_text(encoding="utf-8"))
        picture = images / entry["figure-ID"]
        if picture.exists():
            found.append((ImageFile(entry["figure-ID"], picture), [entry["0-originally-extracted"].strip()]))
    if not found:
        raise InvalidInput(f"{folder}: no caption in SciCap-Caption-All/val has its figure in {images}")
    return paired(found)


def read_screen2words(folder: Path) -> CaptionedImages:
    """`screen_summaries.csv`, five an image, `split/test_screens.txt`, and Rico's `combined/ID.jpg`."""
    wanted = (folder / "split" / "test_screens.txt").read_text().split()
    texts: dict[str, list[str]] = defaultdict(list)
    with (folder / "screen_summaries.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            texts[row["screenId"]].append(row["summary"].strip())
    return paired((ImageFile(name, folder / "combined" / f"{name}.jpg"), texts[name]) for name in wanted)
