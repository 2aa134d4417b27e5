"""Write the paper's tables into docs/evaluation.md, each row with the command that measures it.

    python docs/write_evaluation.py

`tests/evals/test_published_page.py` fails where the page and the package differ.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from siglip2.config import PUBLISHED
from siglip2.evals.published import NO_SHARES, published_figures
from siglip2.evals.registry import all_tasks

PAGE = Path(__file__).resolve().parent / "evaluation.md"
BEGIN = "<!-- tables: written by docs/write_evaluation.py -->\n"
END = "<!-- end of tables -->\n"
ELSEWHERE = PAGE.with_name("published_elsewhere.json")
"""Tables of the paper that need models trained around the encoder, which other repositories do."""

GROUPS = {
    "Classification (Tables 1 and 7)": (
        "imagenet", "imagenet_v2", "imagenet_real", "objectnet", "imagenet_10shot",
    ),
    "Retrieval, hit@1 (Tables 1 and 7)": ("coco", "flickr30k", "xm3600"),
    "Text in images, retrieval hit@1 (Table 7)": ("textcaps", "hiertext", "scicap", "screen2words"),
    "Dense features (Table 2)": (
        "pascal", "ade20k", "nyuv2_depth", "navi_depth", "nyuv2_normals", "navi_normals",
    ),
    "Referring expressions, Acc@0.5 (Table 5)": ("refcoco",),
    "Cultural diversity and fairness (Tables 8 and 9)": (
        "dollar_street", "dollar_street_10shot", "geode", "geode_country_10shot", "geode_region_10shot",
        "gldv2", "representation_bias",
    ),
}  # fmt: skip


def tables() -> str:
    """Every table, checkpoint by checkpoint."""
    figures = published_figures()
    order = {item.name: place for place, item in enumerate(PUBLISHED)}

    def place(name: str) -> tuple[int, int]:
        model, _, budget = name.partition("@")
        return order[model], int(budget or 0)

    names = sorted(figures, key=place)
    parts = []
    for title, tasks in GROUPS.items():
        columns = [
            key
            for task in tasks
            for key in dict.fromkeys(k for f in figures.values() for k in f)
            if key.startswith(f"{task}:")
        ]
        rows = [name for name in names if any(column in figures[name] for column in columns)]
        parts += [
            f"### {title}\n",
            "| checkpoint | " + " | ".join(_heading(column) for column in columns) + " |",
        ]
        parts.append("|---" * (len(columns) + 1) + "|")
        for name in rows:
            values = [_value(column, figures[name].get(column)) for column in columns]
            parts.append(f"| {name.replace('@', ', ')} | " + " | ".join(values) + " |")
        known = [task for task in tasks if task in all_tasks() and all_tasks()[task].published == task]
        missing = [task for task in tasks if task not in known]
        assert known, f"no task measures {title}"
        naflex = " (NaFlex: `--max-num-patches` as after the comma)" if any("@" in n for n in rows) else ""
        command = f"siglip2 eval google/siglip2-CHECKPOINT --data DATA --tasks {' '.join(known)}"
        parts.append(f"\n`{command}`{naflex}. None of these {len(rows)} rows was run here.\n")
        assert not missing, f"no task measures {missing}"
    return "\n".join([*parts, *_elsewhere()])


def _elsewhere() -> Iterator[str]:
    """Tables that no command here measures."""
    for title, table in json.loads(ELSEWHERE.read_text(encoding="utf-8")).items():
        yield f"### {title}\n"
        yield f"| | {' | '.join(table['columns'])} |"
        yield "|---" * (len(table["columns"]) + 1) + "|"
        for name, values in table["rows"].items():
            yield f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |"
        yield f"\n{table['note']} Run by no one here.\n"


def page_with_tables(page: str) -> str:
    """The page with its tables brought up to date."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + tables() + "\n" + END + after


def _heading(column: str) -> str:
    task, measure = column.split(":")
    names = {"top_1": "", "text_to_image_hit@1": " text to image", "image_to_text_hit@1": " image to text"}
    if task == "refcoco":
        return measure.removesuffix("_accuracy@0.5").replace("_", " ")
    return (task + names.get(measure, f" {measure}")).replace("_", " ")


def _value(column: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:g}" if column.split(":")[1] in NO_SHARES else f"{value:.2f}".removesuffix("0")


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
