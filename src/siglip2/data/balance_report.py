"""What `siglip2 data balance` writes: keep-weights as Parquet, and a page with plots before and after."""

import os
from pathlib import Path

import numpy as np

from siglip2.data.balance import VIOLATED, Constraint, association_bias, representation_bias
from siglip2.data.report_page import Plot, Table, new_figure, write_page
from siglip2.data.traits import Traits


def write_keep_weights(traits: Traits, weights: np.ndarray, path: Path) -> None:
    """Write the columns `key` and `keep`; whole or not at all."""
    import pyarrow
    from pyarrow import parquet

    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    parquet.write_table(pyarrow.table({"key": list(traits.keys), "keep": weights}), unfinished)
    unfinished.replace(path)


def measures(constraints: list[Constraint], weights: np.ndarray) -> list[tuple[str, float, float]]:
    """Name, value before and after of the biases, and the share of samples that is kept."""
    before = np.ones_like(weights)
    return [
        (
            "representation bias",
            representation_bias(constraints, before),
            representation_bias(constraints, weights),
        ),
        ("association bias", association_bias(constraints, before), association_bias(constraints, weights)),
        ("shares beyond tolerance", beyond(constraints, before), beyond(constraints, weights)),
        ("samples kept", 1.0, float(weights.mean())),
    ]


def beyond(constraints: list[Constraint], weights: np.ndarray) -> float:
    """How many constraints do not hold, by more than rounding."""
    return float(
        sum(abs(each.share(weights) - each.target) > each.tolerance + VIOLATED for each in constraints)
    )


def write_report(constraints: list[Constraint], weights: np.ndarray, path: Path, title: str) -> None:
    """Write the page."""
    before = np.ones_like(weights)
    shares = [
        (
            each.attribute,
            each.value,
            each.label or "(all)",
            int(each.among.sum()),
            f"{each.target:.1%}",
            f"{each.share(before):.1%}",
            f"{each.share(weights):.1%}",
        )
        for each in constraints
    ]
    rows = [(name, f"{one:.4f}", f"{other:.4f}") for name, one, other in measures(constraints, weights)]
    parts: list[Table | Plot] = [Table("Measures", ("", "before", "after"), rows)]
    for attribute, value in dict.fromkeys((each.attribute, each.value) for each in constraints):
        own = [each for each in constraints if (each.attribute, each.value) == (attribute, value)]
        parts.append(_shares(attribute, value, own, weights))
    parts.append(_histogram(weights))
    columns = ("attribute", "value", "label", "samples", "target", "before", "after")
    parts.append(Table("Shares", columns, shares))
    write_page(path, title, parts)


def _shares(attribute: str, value: str, constraints: list[Constraint], weights: np.ndarray) -> Plot:
    before = np.ones_like(weights)
    ordered = sorted(constraints, key=lambda each: each.share(before))
    figure, axes = new_figure(height=1 + 0.24 * len(ordered))
    for row, each in enumerate(ordered):
        first, second = each.share(before), each.share(weights)
        axes.plot([first, second], [row, row], color="#bbb", zorder=1)
        axes.scatter([first], [row], color="#c44", zorder=2, label="before" if row == 0 else None)
        axes.scatter([second], [row], color="#2a78b8", zorder=3, label="after" if row == 0 else None)
    axes.axvline(ordered[0].target, color="#888", linestyle="--", label="target")
    axes.set_yticks(range(len(ordered)), [each.label or "(all)" for each in ordered])
    axes.set_xlabel(f"share of {value}")
    axes.set_xlim(0, 1)
    axes.legend(loc="lower right")
    worst = max(ordered, key=lambda each: abs(each.share(before) - each.target))
    described = (
        f"Share of {value} among the samples of each label. Farthest from its target before: "
        f"{worst.label or '(all)'} with {worst.share(before):.1%}, after {worst.share(weights):.1%}."
    )
    return Plot(f"{attribute}: {value}", figure, described)


def _histogram(weights: np.ndarray) -> Plot:
    figure, axes = new_figure()
    axes.hist(weights, bins=40, range=(0, 1), color="#2a78b8")
    axes.set_yscale("log")
    axes.set_xlabel("keep-weight")
    axes.set_ylabel("samples")
    low = float((weights < 0.5).mean())
    return Plot(
        "Keep-weights", figure, f"{weights.mean():.1%} of the samples stay; {low:.1%} have less than a half."
    )
