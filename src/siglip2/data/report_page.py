"""One HTML page of tables and plots, with everything inside."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from siglip2.errors import InvalidInput

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }
img { max-width: 100%; }
@media (prefers-color-scheme: dark) {
  body { background: #16181c; color: #ddd; } th, td { border-color: #444; } img { background: #fff; }
}
"""


@dataclass(frozen=True)
class Table:
    """A table with a heading."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure with a heading and what it shows in words."""

    heading: str
    figure: Any
    description: str


def write_page(path: Path, title: str, parts: Iterable[Table | Plot]) -> None:
    """Write the page.

    Args:
        path: of the .html file.
        title: its heading.
        parts: from top to bottom.
    """
    body = "\n".join(_table(part) if isinstance(part, Table) else _plot(part) for part in parts)
    path.write_text(
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n</html>\n",
        encoding="utf-8",
    )


def new_figure(rows: int = 1, columns: int = 1, *, height: float = 3.2) -> tuple[Any, Any]:
    """A figure and its axes, drawn without any display.

    Raises:
        InvalidInput: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise InvalidInput("plots need matplotlib: pip install 'siglip2[data]'") from None
    figure = Figure(figsize=(8, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns)


def _table(table: Table) -> str:
    def row(values: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(value))}</{tag}>" for value in values) + "</tr>"

    lines = [row(table.columns, "th"), *(row(values, "td") for values in table.rows)]
    return f"<h2>{escape(table.heading)}</h2>\n<table>\n" + "\n".join(lines) + "\n</table>"


def _plot(plot: Plot) -> str:
    buffer = io.BytesIO()
    plot.figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    image = base64.b64encode(buffer.getvalue()).decode()
    described = escape(plot.description)
    return (
        f'<h2>{escape(plot.heading)}</h2>\n<img alt="{described}" src="data:image/png;base64,{image}">'
        f"\n<p>{described}</p>"
    )
