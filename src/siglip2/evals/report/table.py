"""Results on a terminal, and as plain lines in a pipe."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from siglip2.evals.compare import Difference
from siglip2.evals.published import NO_SHARES
from siglip2.evals.runner import TaskReport

_BEYOND_PERCENT = (*NO_SHARES, "abs_rel", "association", "association_shuffled")


def figure(measure: str, value: float | None) -> str:
    """A share in percent; metres, degrees and effect sizes as they are."""
    if value is None:
        return ""
    return f"{value:.3f}" if measure in _BEYOND_PERCENT else f"{100 * value:.2f}"


def print_report(report: TaskReport) -> None:
    """One finished task: its measures with intervals, chance and the paper's figure."""
    if report.result is None:
        print(f"{report.task}: not measured: {report.reason}", file=sys.stderr)
        return
    for row in rows_of(report.result):
        if sys.stdout.isatty():
            continue
        print("\t".join((report.task, *row)))
    if sys.stdout.isatty():
        _print_table(report.result, report.state)
    elif report.state == "kept":
        print(f"{report.task}: kept from an equal run, --again measures anew", file=sys.stderr)
    for line in explanations(report.result):
        print(f"{report.task}: {line}", file=sys.stderr)


def explanations(result: dict[str, Any]) -> list[str]:
    """Where the paper's figures lie outside of the intervals, and how much of it which switch explains."""
    main, lines = result["main"], []
    costs = result.get("explained", {})
    told = ", ".join(f"{switch} accounts for {_signed(main, cost)}" for switch, cost in costs.items())
    for name, published in result.get("published", {}).items():
        measure = result["measures"][name]
        if measure["low"] <= published <= measure["high"]:
            continue
        gap = measure["value"] - published
        line = f"{name} is {figure(name, measure['value'])}, in the paper {figure(name, published)}"
        if name == main and told:
            rest = gap - sum(costs.values())
            line += f": {told}, {_signed(main, rest)} stay unexplained by any switch"
        elif not result["deviations"]:
            line += (
                f", by {_signed(name, gap)}, and every switch is the paper's: compare the weights, the files "
                "of the data set and their number with what the paper used"
            )
        lines.append(line)
    if told and not any(line.startswith(f"{main} is") for line in lines):
        lines.append(told)
    return lines


def _signed(measure: str, value: float) -> str:
    return f"{'+' if value >= 0 else '-'}{figure(measure, abs(value))}"


def rows_of(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Measure, value, interval, chance and published figure of every measure of a result."""
    rows = []
    for name, measure in result["measures"].items():
        chance = result["chance"] if name == result["main"] else None
        interval = f"{figure(name, measure['low'])} to {figure(name, measure['high'])}"
        published = figure(name, result.get("published", {}).get(name))
        rows.append((name, figure(name, measure["value"]), interval, figure(name, chance), published))
    return rows


def _print_table(result: dict[str, Any], state: str) -> None:
    sizes = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in result["sizes"].items())
    note = " (kept from an equal run)" if state == "kept" else f" ({result['seconds']:.0f} s)"
    table = Table(title=f"{result['title']}: {sizes}{note}", title_justify="left")
    for column in ("measure", "value", "95 %", "chance", "paper"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for row in rows_of(result):
        table.add_row(*row)
    Console().print(table)


def print_tasks() -> None:
    """Every task with its data and where to get them."""
    from siglip2.evals.registry import SETS, all_tasks

    rows = [
        (
            task.name,
            task.title,
            ", ".join(dict.fromkeys(each.folder for each in task.data)),
            "torch" if task.trains else "",
            ", ".join(name for name, members in SETS.items() if task.name in members.split()),
            task.data[0].page,
        )
        for task in all_tasks().values()
    ]
    if not sys.stdout.isatty():
        print("\n".join("\t".join(row) for row in rows))
        return
    table = Table()
    for column in ("task", "what", "folder", "needs", "sets", "data from"):
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_comparison(differences: list[Difference], first: str, second: str) -> None:
    """A line for each measure of two runs."""
    rows = [
        (
            each.task,
            each.measure,
            figure(each.measure, each.first),
            figure(each.measure, each.second),
            ""
            if each.low is None
            else f"{figure(each.measure, each.low)} to {figure(each.measure, each.high)}",
            each.verdict,
        )
        for each in differences
    ]
    if not sys.stdout.isatty():
        print("\n".join("\t".join(row) for row in rows))
        return
    table = Table()
    for column in ("task", "measure", first, second, "difference, 95 %", "second is"):
        table.add_column(column, justify="right" if column in (first, second) else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
