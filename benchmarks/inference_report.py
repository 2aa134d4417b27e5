"""The results of the inference benchmark as JSON and as a section of docs/benchmarks.md."""

import json
from pathlib import Path
from statistics import quantiles

from sections import write_section

START, END = "<!-- inference: written by benchmarks/inference.py -->", "<!-- end of inference -->"


def write(results: dict, repository: Path) -> None:
    """Save the JSON beside the benchmarks and put the table into docs/benchmarks.md."""
    saved = repository / "benchmarks" / "results" / "inference.json"
    saved.parent.mkdir(exist_ok=True)
    saved.write_text(json.dumps(results, indent=2) + "\n")
    write_section(repository / "docs" / "benchmarks.md", START, END, markdown(results))


def markdown(results: dict) -> str:
    """The section: tables, targets with what was reached, machine and versions."""
    contenders = results["contenders"]
    working = {name: each for name, each in contenders.items() if "error" not in each}
    sizes = list(next(iter(working.values()))["images_per_s"])
    heads = [
        "",
        *(f"images/s, batch {size}" for size in sizes),
        "first answer, s",
        "anonymous MB",
        "unique MB",
    ]
    heads += ["12-megapixel photos/s", "prepared/s"]
    lines = [
        "## Inference",
        "",
        "B/16-256 in full size, random weights; `python benchmarks/inference.py` makes this section.",
        "First answer: a fresh process from its start to one photo scored against two texts; ours as",
        "`siglip2 classify` does it, which lets the text tower go when the labels are embedded. Anonymous:",
        "memory that no file backs; unique: that plus the mapped pages no other process shares; of ours the",
        "most of before the photo and after it. 12-megapixel photos: from JPEG files to embeddings;",
        "prepared: the same without the tower.",
        "",
        _row(heads),
        _row(["---"] + ["---:"] * (len(heads) - 1)),
    ]
    for name, each in working.items():
        cells = [name, *(f"{each['images_per_s'][size]:.2f}" for size in sizes), f"{each['cold_s']:.1f}"]
        cells += [str(each["anonymous_mb"]), str(each["unique_mb"])]
        cells += [f"{each['disk']['photos_per_s']:.2f}", f"{each['disk']['prepared_per_s']:.1f}"]
        lines.append(_row(cells))
    lines += [
        f"\n`{name}` did not run: {each['error']}" for name, each in contenders.items() if "error" in each
    ]
    if {"transformers", "siglip2"} <= working.keys():
        lines += ["", *_targets(working, results)]
    machine = results["machine"]
    lines += [
        "",
        f"{results['date']}, {machine['processor']}, {machine['cores']} cores, OpenVINO arithmetic "
        f"{', '.join(machine['arithmetic'])}, Python {machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + f"; load average before the run {results['load_before']}.",
    ]
    if results["note"]:
        lines += ["", results["note"]]
    return "\n".join(lines) + "\n\n"


def _targets(working: dict, results: dict) -> list[str]:
    matmul, pairs = results["matmul"], _pairs(results["turns"]["siglip2"])
    theirs, ours = working["transformers"], working["siglip2"]
    batch = "8"
    speed = ours["images_per_s"][batch] / theirs["images_per_s"][batch]
    tower = 1 / ours["images_per_s"][batch]
    rows = [
        ("images/s over `transformers`, batch 8", speed, 5.0, True),
        ("time over the same products in bfloat16, torch: in turns", pairs[1], 1.5, False),
        ("a quarter of the pairs is below", pairs[0], None, False),
        ("a quarter of the pairs is above", pairs[2], None, False),
        ("fastest of all over fastest of all", tower / matmul["bfloat16"], None, False),
        ("the same in float32", tower / matmul["float32"], None, False),
        ("first answer over `transformers`", ours["cold_s"] / theirs["cold_s"], 0.5, False),
        ("unique memory over `transformers`", ours["unique_mb"] / theirs["unique_mb"], 1 / 3, False),
        ("the same with both towers kept", ours["both_towers_mb"] / theirs["unique_mb"], None, False),
        (
            "of that the weights of both towers in bfloat16 alone",
            results["towers_mb"] / theirs["unique_mb"],
            None,
            False,
        ),
        (
            "12-megapixel photos/s over `transformers`",
            ours["disk"]["photos_per_s"] / theirs["disk"]["photos_per_s"],
            3.0,
            True,
        ),
        (
            "the same without the tower",
            ours["disk"]["prepared_per_s"] / theirs["disk"]["prepared_per_s"],
            None,
            True,
        ),
    ]
    if "siglip2-int8" in working:
        int8 = working["siglip2-int8"]
        rows += [
            (
                "int8: time over the same products, in turns",
                _pairs(results["turns"]["siglip2-int8"])[1],
                None,
                False,
            ),
            ("int8: unique memory over `transformers`", int8["unique_mb"] / theirs["unique_mb"], None, False),
            ("the same with both towers kept", int8["both_towers_mb"] / theirs["unique_mb"], None, False),
        ]
    lines = [_row(["siglip2", "reached", "target", ""]), _row(["---", "---:", "---:", "---"])]
    for name, reached, target, more_is_better in rows:
        if target is None:
            lines.append(_row([name, f"{reached:.2f}", "", ""]))
            continue
        holds = reached >= target if more_is_better else reached <= target
        bound = f"{'at least' if more_is_better else 'at most'} {target:.2g}"
        lines.append(_row([name, f"{reached:.2f}", bound, "holds" if holds else "missed"]))
    return lines


def _pairs(seconds: dict) -> list[float]:
    """Quartiles of the tower's time over the products' time beside it."""
    ratios = [tower / bare for tower, bare in zip(seconds["tower"], seconds["bfloat16"], strict=True)]
    return quantiles(ratios, n=4)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
