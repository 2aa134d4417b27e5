"""A live view of a run in a terminal."""

import math
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from siglip2.recipes.recipe import Recipe
from siglip2.train.callbacks import Entry

_BLOCKS = "▁▂▃▄▅▆▇█"


class Terminal:
    """Losses with their curves, rates, and how far the run is; redrawn at each log entry."""

    def __init__(self, recipe: Recipe, console: Console | None = None):
        """Show nothing yet.

        Args:
            recipe: of the run.
            console: where to draw; the error stream by default.
        """
        self.recipe = recipe
        self._curves: dict[str, list[float]] = {}
        self._live = Live(console=console or Console(stderr=True), auto_refresh=False)
        self._live.start()

    def log(self, entry: Entry) -> None:
        """Draw an entry."""
        for name, value in {"loss": entry["loss"], **entry["parts"]}.items():
            self._curves.setdefault(name, []).append(value)
        self._live.update(self.draw(entry), refresh=True)

    def close(self) -> None:
        """Leave the last picture."""
        self._live.stop()

    def draw(self, entry: Entry) -> Panel:
        """The picture of an entry."""
        steps = self.recipe.last_step
        losses = Table(box=None, header_style="dim")
        for column, justify in (("", "left"), ("now", "right"), ("so far", "left")):
            losses.add_column(column, justify=justify)  # pyright: ignore[reportArgumentType]
        for name in ("loss", *entry["parts"]):
            values = self._curves[name]
            losses.add_row(name.replace("_", " "), f"{values[-1]:.4f}", sparkline(values, 32))
        facts = Table(box=None, show_header=False)
        facts.add_column(style="dim")
        facts.add_column(justify="right")
        for name, value in _facts(entry):
            facts.add_row(name, value)
        side_by_side = Table.grid(padding=(0, 3))
        side_by_side.add_row(losses, facts)
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_row(
            ProgressBar(total=steps, completed=entry["step"]),
            f"{entry['step']:,} of {steps:,}",
            f"{_duration(entry['seconds_left'])} left",
        )
        return Panel(
            Group(side_by_side, bar), title=f"{self.recipe.name}: {entry['stage']}", title_align="left"
        )


def sparkline(values: list[float], width: int) -> str:
    """Means of equal parts of a list, as blocks from its least to its greatest; blanks where not finite."""
    count = min(width, len(values))
    parts = [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]
    means = [sum(part) / len(part) for part in parts]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    top = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[int((mean - low) / ((high - low) or 1) * top)] if math.isfinite(mean) else " "
        for mean in means
    )


def _facts(entry: Entry) -> list[tuple[str, str]]:
    work = f"{100 * entry['mfu']:.1f} % MFU" if "mfu" in entry else f"{entry['teraflops']:.3f} TFLOP/s"
    return [
        ("learning rate", f"{100 * entry['learning_rate_factor']:.1f} % of its peak"),
        ("gradient norm", f"{entry['gradient_norm']:.3g}"),
        ("scale, bias", f"{entry['scale']:.2f}, {entry['bias']:.2f}"),
        ("images a second", f"{entry['images_per_second']:,.1f}"),
        ("arithmetic", work),
        ("waiting for data", f"{100 * entry['waiting_share']:.1f} %"),
    ]


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
