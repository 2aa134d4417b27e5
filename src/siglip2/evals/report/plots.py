"""The plots of the report, as PNG."""

from pathlib import Path
from typing import Any

import numpy as np

_COLOURS = ("#2f6fb0", "#d9822b", "#3f9b63", "#b5495b", "#7a5fb0", "#5f6b73")


def draw_plots(runs: dict[str, dict[str, dict[str, Any]]], folder: Path) -> list[tuple[str, Path]]:
    """Draw what the results allow.

    Args:
        runs: results by model and task.
        folder: where the PNG files go.

    Returns:
        Title and file of each plot.
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [*_languages(runs, folder), *_reliability(runs, folder), *_models(runs, folder)]
    return [(title, path) for title, path in drawn if path is not None]


def _models(runs, folder: Path) -> list[tuple[str, Path | None]]:
    """Main measures of all models side by side, shares only."""
    shares = {
        task: result["title"]
        for results in runs.values()
        for task, result in results.items()
        if result["measures"][result["main"]]["high"] <= 1
    }
    if not shares:
        return []
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.45 * len(shares) * max(1, len(runs) ** 0.5) + 1.4), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(runs)
    for index, (model, results) in enumerate(runs.items()):
        for row, task in enumerate(shares):
            if task not in results:
                continue
            measure = results[task]["measures"][results[task]["main"]]
            value, low, high = (100 * measure[key] for key in ("value", "low", "high"))
            place = row + (index - (len(runs) - 1) / 2) * height
            label = model if row == 0 else None
            axes.barh(place, value, height * 0.9, color=_COLOURS[index % len(_COLOURS)], label=label)
            error = [[max(0.0, value - low)], [max(0.0, high - value)]]
            axes.errorbar(value, place, xerr=error, color="#333", capsize=2, lw=1)
            chance = results[task].get("chance")
            if chance is not None:
                axes.plot([100 * chance] * 2, [row - 0.45, row + 0.45], color="#999", lw=1, ls=":")
            published = results[task].get("published", {}).get(results[task]["main"])
            if published is not None:
                axes.plot(100 * published, place, marker="D", color="black", ms=5)
    axes.set_yticks(range(len(shares)), list(shares.values()))
    axes.invert_yaxis()
    axes.set_xlabel("main measure in per cent; bars to 95 %, dotted: chance, diamond: paper")
    axes.spines[["top", "right"]].set_visible(False)
    if len(runs) > 1:
        axes.legend(frameon=False)
    path = folder / "models.png"
    figure.savefig(path, dpi=110)
    return [("Main measures", path)]


def _languages(runs, folder: Path) -> list[tuple[str, Path | None]]:
    """One bar a language for every task that has languages."""
    from matplotlib.figure import Figure

    found: list[tuple[str, Path | None]] = []
    tasks = {
        task
        for results in runs.values()
        for task, result in results.items()
        # One bar alone would compare nothing.
        if len(result["details"].get("per_language", {})) > 1
    }
    for task in sorted(tasks):
        models = {model: results[task] for model, results in runs.items() if task in results}
        first = next(iter(models.values()))
        main = first["main"]

        def value(result, language: str, key: str = "value", main: str = main) -> float:
            entry = result["details"]["per_language"].get(language)
            if entry is None:
                return np.nan
            # Retrieval has several measures a language, Babel-ImageNet one with its ends beside it.
            return 100 * (
                entry[main][key] if isinstance(entry[main], dict) else entry[main if key == "value" else key]
            )

        languages = sorted(first["details"]["per_language"], key=lambda each: -value(first, each))
        figure = Figure(figsize=(max(5, 0.22 * len(languages) + 2), 3.4), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / len(models)
        for index, (model, result) in enumerate(models.items()):
            places = np.arange(len(languages)) + (index - (len(models) - 1) / 2) * width
            heights = [value(result, language) for language in languages]
            axes.bar(places, heights, width * 0.95, color=_COLOURS[index % len(_COLOURS)], label=model)
            ends = [[value(result, language, key) for language in languages] for key in ("low", "high")]
            error = np.abs(np.array(ends) - heights)
            axes.errorbar(places, heights, yerr=error, fmt="none", color="#333", capsize=2, lw=1)
        rotation = 90 if len(languages) > 12 else 0
        axes.set_xticks(range(len(languages)), languages, rotation=rotation, fontsize=8)
        axes.set_ylabel(f"{main}, per cent")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
        if len(models) > 1:
            axes.legend(frameon=False)
        path = folder / f"{task}-languages.png"
        figure.savefig(path, dpi=110)
        found.append((f"{first['title']}: each language", path))
    return found


def _reliability(runs, folder: Path) -> list[tuple[str, Path | None]]:
    """Stated share against what came true, for every zero-shot classification."""
    from matplotlib.figure import Figure

    found: list[tuple[str, Path | None]] = []
    tasks = {
        task
        for results in runs.values()
        for task, result in results.items()
        if "reliability" in result["details"]
    }
    for task in sorted(tasks):
        figure = Figure(figsize=(4.2, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#999", ls=":", lw=1)
        title = ""
        for index, (model, results) in enumerate(runs.items()):
            if task not in results:
                continue
            title = results[task]["title"]
            bins = results[task]["details"]["reliability"]
            points = [(s, r) for s, r in zip(bins["stated"], bins["right"], strict=True) if s is not None]
            axes.plot(
                *zip(*points, strict=True), marker="o", color=_COLOURS[index % len(_COLOURS)], label=model
            )
        axes.set_xlabel("share the model states for its answer")
        axes.set_ylabel("share that is right")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        path = folder / f"{task}-reliability.png"
        figure.savefig(path, dpi=110)
        found.append((f"{title}: reliability", path))
    return found
