"""One HTML page: the table with the paper's figures, models side by side, plots, and examples."""

import base64
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from siglip2.evals.registry import all_tasks
from siglip2.evals.report.plots import draw_plots
from siglip2.evals.report.table import explanations, figure
from siglip2.evals.results import model_names, read_results

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } h3 { font-size: 1rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .28rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child { text-align: left; white-space: normal } small, .quiet { color: var(--quiet) }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0 } figcaption { max-width: 224px }
.plots img { max-width: 100%; background: white; border-radius: 6px }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem }
.pictures img { display: block; max-width: 224px; border-radius: 4px } ul { padding-left: 1.2rem }
"""


def write_page(folders: list[Path], output: Path) -> Path:
    """Write `report.html` and its plots.

    Args:
        folders: one of results for each model; one that is named twice counts once.
        output: where the page goes.

    Raises:
        InvalidInput: a folder holds no results.
    """
    known = list(all_tasks())  # the order in which they are listed; tasks of other releases come last
    folders = list({folder.resolve(): folder for folder in folders}.values())
    runs = {
        name: dict(
            sorted(
                read_results(folder).items(),
                key=lambda item: known.index(item[0]) if item[0] in known else len(known),
            )
        )
        for name, folder in zip(model_names(folders), folders, strict=True)
    }
    plots = draw_plots(runs, output / "plots")
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>SigLIP 2 evaluation</title><style>{_STYLE}</style>",
        f"<h1>Evaluation of {escape(', '.join(runs))}</h1>",
        "<p class=quiet>Values in per cent unless their name says otherwise, with 95 % intervals. "
        "Paper: arXiv 2502.14786.</p>",
        *_table(runs),
        "<h2>Plots</h2><div class=plots>",
        *(_plot(title, path) for title, path in plots),
        "</div>",
        *_deviations(runs),
        *_details(runs),
        *_examples(runs, folders),
    ]
    output.mkdir(parents=True, exist_ok=True)
    path = output / "report.html"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _table(runs: dict[str, dict[str, Any]]) -> Iterator[str]:
    tasks = list(dict.fromkeys(task for results in runs.values() for task in results))
    head = "".join(f"<th>{escape(model)}<th>paper" for model in runs)
    yield f"<h2>All measures</h2><div class=scroll><table><tr><th>task and measure{head}<th>chance"
    for task in tasks:
        known = next(results[task] for results in runs.values() if task in results)
        sizes = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in known["sizes"].items())
        yield f"<tr><td><b>{escape(known['title'])}</b> <small>{sizes}</small>" + "<td>" * (2 * len(runs) + 1)
        for name in known["measures"]:
            cells = []
            for results in runs.values():
                measure = results.get(task, {}).get("measures", {}).get(name)
                if measure is None:
                    cells += ["", ""]
                    continue
                interval = f"{figure(name, measure['low'])} to {figure(name, measure['high'])}"
                cells.append(f"{figure(name, measure['value'])} <small>{interval}</small>")
                cells.append(_against(name, measure, results[task].get("published", {}).get(name)))
            chance = figure(name, known["chance"]) if name == known["main"] else ""
            yield "<tr><td>&emsp;" + "<td>".join([escape(name.replace("_", " ")), *cells, chance])
    yield "</table></div>"


def _against(name: str, measure: dict[str, Any], published: float | None) -> str:
    if published is None:
        return ""
    inside = measure["low"] <= published <= measure["high"]
    return f"{figure(name, published)} <small>{'inside' if inside else 'outside'}</small>"


def _deviations(runs: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "<h2>Protocol</h2>"
    for model, results in runs.items():
        first = next(iter(results.values()))
        listed = "".join(f"<li>{escape(each)}" for each in first["deviations"])
        yield f"<h3>{escape(model)}</h3>" + (
            f"<ul>{listed}</ul>" if listed else "<p>The paper's protocol in every switch."
        )
        for task, result in results.items():
            for line in explanations(result):
                yield f"<p>{escape(task)}: {escape(line)}"
        versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
        parts = (first["machine"], versions, first["identity"]["precision"])
        yield f"<p class=quiet>{escape('; '.join(parts))}"


def _details(runs: dict[str, dict[str, Any]]) -> Iterator[str]:
    for model, results in runs.items():
        for result in results.values():
            pairs = result["details"].get("confusions")
            if pairs:
                rows = "".join(
                    f"<tr><td>{escape(each['class'])}<td>{escape(each['taken_for'])}<td>{each['images']}"
                    for each in pairs
                )
                yield (
                    f"<h2>{escape(result['title'])}, {escape(model)}: worst pairs</h2>"
                    f"<table><tr><th>class<th>taken for<th>images{rows}</table>"
                )
            scores = result["details"].get("iou_per_class")
            if scores:
                rows = "".join(
                    f"<tr><td>{escape(name)}<td>{100 * value:.1f}" for name, value in scores.items()
                )
                yield (
                    f"<h2>{escape(result['title'])}, {escape(model)}: each class</h2><details"
                    f"{' open' if len(scores) <= 20 else ''}><summary>{len(scores)} classes</summary>"
                    f"<table><tr><th>class<th>IoU{rows}</table></details>"
                )


def _examples(runs: dict[str, dict[str, Any]], folders: list[Path]) -> Iterator[str]:
    for folder, (model, results) in zip(folders, runs.items(), strict=True):
        for result in results.values():
            if not result["examples"]:
                continue
            yield f"<h2>{escape(result['title'])}, {escape(model)}: examples</h2><div class=pictures>"
            for example in result["examples"]:
                content = base64.b64encode((folder / example["file"]).read_bytes()).decode()
                yield (
                    f"<figure><img alt='' src='data:image/jpeg;base64,{content}'>"
                    f"<figcaption><small>{escape(example['kind'])}</small><br>{escape(example['caption'])}</figcaption></figure>"
                )
            yield "</div>"


def _plot(title: str, path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    picture = f"<img alt='{escape(title)}' src='data:image/png;base64,{content}'>"
    return f"<figure><h3>{escape(title)}</h3>{picture}</figure>"
