"""Write what nano was measured to do into docs/nano.md, and the whole page into the model's own README.

    siglip2 eval nano --data DATA --tasks small --preset transformers --templates plain --output eval
    python docs/write_nano.py eval/nano

`tests/evals/test_published_page.py` fails where the two pages differ.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import siglip2
from siglip2.errors import InvalidInput
from siglip2.evals.protocol import PAPER
from siglip2.evals.results import read_results

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "nano.md"
CARD = REPOSITORY / "src" / "siglip2" / "assets" / "nano" / "README.md"
BEGIN = "<!-- measured: written by docs/write_nano.py -->\n"
END = "<!-- end of measured -->\n"

ROWS = {
    "tiny_imagenet": ("top_1", "top_5", "calibration_error"),
    "tiny_imagenet_10shot": ("top_1",),
    "tiny_imagenet_linear": ("top_1",),
    "babel_tiny_imagenet": ("top_1",),
    "flickr8k": ("text_to_image_hit@1", "image_to_text_hit@1", "text_to_image_hit@10"),
    "coco_mini": ("text_to_image_hit@1", "image_to_text_hit@1"),
    "camvid": ("miou", "pixel_accuracy"),
    "camvid_dpt": ("miou",),
    "camvid_open_vocabulary": ("miou",),
    "coco_mini_masks": ("miou",),
    "depth_rgbd": ("rmse", "delta_1"),
    "normals_rgbd": ("angular_rmse",),
    "coco_mini_expressions": ("accuracy@0.5",),
    "coco_mini_pointing": ("pointing_accuracy",),
    "tiny_imagenet_representation_bias": ("bias", "preference"),
    "flickr8k_gender": ("accuracy", "association", "association_shuffled"),
}
"""Measures of each task that the page shows; tasks that are no key here are shown with their main one."""

DIGITS = {"rmse": 3, "angular_rmse": 1, "association": 3, "association_shuffled": 3}
"""Measures that are no shares, with their digits."""

RETRIEVED = {
    "text_to_image_hit@1": "text to image @1",
    "text_to_image_hit@10": "@10",
    "image_to_text_hit@1": "image to text @1",
    "image_to_text_hit@10": "@10",
}


def measured(results: dict[str, dict[str, Any]]) -> str:
    """The part of the page that comes from results, by task."""
    known = {task: results[task] for task in [*ROWS, *results] if task in results}
    parts = [f"`{_command(next(iter(known.values())))}`", "", *_main_table(known), "", *_notes(known)]
    if "flickr8k" in known:
        parts += ["", *_languages(known["flickr8k"])]
    if "babel_tiny_imagenet" in known:
        parts += ["", *_class_names(known["babel_tiny_imagenet"])]
    return "\n".join(parts) + "\n"


def page_with_results(page: str, results: dict[str, dict[str, Any]]) -> str:
    """The page with its measured part brought up to date."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + measured(results) + END + after


def card_of(page: str, card: str) -> str:
    """The model's README: its own head between two lines of dashes, then the page."""
    _, head, _ = card.split("---\n", 2)
    return f"---\n{head}---\n\n{page}"


def check_results(results: dict[str, dict[str, Any]]) -> None:
    """That these are results of the bundled weights, whole and of one protocol.

    Raises:
        InvalidInput: they are not.
    """
    for task, result in results.items():
        identity = result["identity"]
        first = next(iter(results.values()))["identity"]
        preset, letters = identity["protocol"]["image_preset"], identity["protocol"]["lowercase"]
        bundled = siglip2.load("nano", image_preset=preset, lowercase=letters).fingerprint
        if identity["fingerprint"] != bundled:
            raise InvalidInput(f"{task} was measured with other weights than those of the bundled model")
        if identity["limit"] is not None or identity["protocol"] != first["protocol"]:
            raise InvalidInput(f"{task} was measured on {identity['limit']} images or by another protocol")


def _command(result: dict[str, Any]) -> str:
    protocol = result["identity"]["protocol"]
    options = {"image_preset": "preset", "templates": "templates", "lowercase": "lowercase", "ties": "ties"}
    changed = [
        f" --{flag} {protocol[name]}"
        for name, flag in options.items()
        if protocol[name] != getattr(PAPER, name)
    ]
    return f"siglip2 eval nano --data DATA --tasks small{''.join(changed)}"


def _main_table(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "| task | measure | value and 95 % interval | knowing nothing |"
    yield "|---|---|---|---|"
    for task, result in results.items():
        sizes = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in result["sizes"].items())
        for name in ROWS.get(task, (result["main"],)):
            chance = result["chance"] if name == result["main"] else None
            row = (
                f"{result['title']} ({sizes})",
                name.replace("_", " "),
                _interval(name, result["measures"][name]),
                "" if chance is None else _figure(name, chance),
            )
            yield f"| {' | '.join(row)} |"


def _notes(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    first = next(iter(results.values()))
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    seconds = sum(result["seconds"] for result in results.values())
    protocol = first["identity"]["protocol"]
    yield "In per cent; depth in metres, normals in degrees, associations in standard deviations. Templates"
    yield f'`{protocol["templates"]}`, resize `{protocol["image_preset"]}`, as in training; "knowing nothing"'
    yield "is chance, or the best constant answer where a head is fitted."
    yield ""
    yield f"{first['machine']}, {first['identity']['precision']}, {seconds:.0f} s in all;"
    yield f"{versions}."


def _languages(result: dict[str, Any]) -> Iterator[str]:
    yield "Retrieval in each language of Flickr8k:"
    yield ""
    yield "| captions | " + " | ".join(RETRIEVED.values()) + " |"
    yield "|---" * (len(RETRIEVED) + 1) + "|"
    for language, entry in result["details"]["per_language"].items():
        figures = " | ".join(_interval(name, entry[name]) for name in RETRIEVED)
        yield f"| {language}, {entry['images']} images, {entry['texts']} captions | {figures} |"


def _class_names(result: dict[str, Any]) -> Iterator[str]:
    languages = result["details"]["per_language"]
    best = sorted(languages, key=lambda each: -languages[each]["top_1"])[:6]
    listed = ", ".join(f"{each} {100 * languages[each]['top_1']:.1f}" for each in best)
    above = sum(entry["low"] > entry["chance"] for entry in languages.values())
    yield f"Class names of {len(languages)} languages (Babel-ImageNet; each over the classes it names):"
    yield f"the best are {listed}; {above} languages are above chance by their interval."


def _interval(name: str, measure: dict[str, float]) -> str:
    value, low, high = (_figure(name, measure[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _figure(name: str, value: float) -> str:
    return f"{value:.{DIGITS[name]}f}" if name in DIGITS else f"{100 * value:.1f}"


def main(folder: Path) -> None:
    """Write both pages from a folder of results."""
    results = read_results(folder)
    check_results(results)
    page = page_with_results(PAGE.read_text(encoding="utf-8"), results)
    PAGE.write_text(page, encoding="utf-8")
    CARD.write_text(card_of(page, CARD.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
