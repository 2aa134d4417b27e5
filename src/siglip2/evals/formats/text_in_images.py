"""Pictures full of text: TextCaps, HierText, SciCap and Screen2Words, as their publishers lay them out.

The paper does not say: which texts of HierText stand for a picture. Here it is all its legible lines in
reading order, cut by the tokenizer where it ends.
"""

from collections import defaultdict
from pathlib import Path

from siglip2.errors import InvalidInput
from siglip2.evals.formats.captioned import CaptionedImages, paired
from siglip2.evals.formats.text_files import laid_out, read_csv, read_json, read_text
from siglip2.evals.images import ImageFile


def read_textcaps(folder: Path) -> CaptionedImages:
    """`TextCaps_0.1_val.json`, five captions an image, and Open Images' photographs in `train_images/`."""
    texts: dict[str, list[str]] = defaultdict(list)
    path = folder / "TextCaps_0.1_val.json"
    content = read_json(path)
    with laid_out(path):
        for entry in content["data"]:
            texts[entry["image_id"]] = [text.strip() for text in entry["reference_strs"]]
    return paired(
        (ImageFile(name, folder / "train_images" / f"{name}.jpg"), each) for name, each in texts.items()
    )


def read_hiertext(folder: Path) -> CaptionedImages:
    """`gt/validation.jsonl.gz`, one JSON object in spite of its name, and the pictures in `validation/`."""
    path = folder / "gt" / "validation.jsonl.gz"
    content = read_json(path)

    def lines(entry: dict) -> list[str]:
        found = (line for paragraph in entry["paragraphs"] for line in paragraph["lines"])
        text = " ".join(line["text"] for line in found if line["legible"])
        return [text] if text else []

    with laid_out(path):
        return paired(
            (ImageFile(entry["image_id"], folder / "validation" / f"{entry['image_id']}.jpg"), lines(entry))
            for entry in content["annotations"]
        )


def read_scicap(folder: Path) -> CaptionedImages:
    """Figures without subfigures: `SciCap-Caption-All/val/*.json` and `SciCap-No-Subfig-Img/val/`."""
    captions = sorted((folder / "SciCap-Caption-All" / "val").glob("*.json"))
    images = folder / "SciCap-No-Subfig-Img" / "val"
    found = []
    for path in captions:
        entry = read_json(path)
        with laid_out(path):
            name, text = entry["figure-ID"], entry["0-originally-extracted"].strip()
            if (images / name).exists():
                found.append((ImageFile(name, images / name), [text]))
    if not found:
        raise InvalidInput(f"{folder}: no caption in SciCap-Caption-All/val has its figure in {images}")
    return paired(found)


def read_screen2words(folder: Path) -> CaptionedImages:
    """`screen_summaries.csv`, five an image, `split/test_screens.txt`, and Rico's `combined/ID.jpg`."""
    wanted = read_text(folder / "split" / "test_screens.txt").split()
    texts: dict[str, list[str]] = defaultdict(list)
    for row in read_csv(folder / "screen_summaries.csv", ("screenId", "summary")):
        texts[row["screenId"]].append(row["summary"].strip())
    return paired((ImageFile(name, folder / "combined" / f"{name}.jpg"), texts[name]) for name in wanted)
