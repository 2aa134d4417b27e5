"""`siglip2 train report RUN`: one page with the curves of a run."""

import base64
import io
import json
from html import escape
from pathlib import Path

from siglip2.errors import InvalidInput
from siglip2.train.callbacks import Entry

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } .scroll { overflow-x: auto }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 1.5rem }
img { width: min(100%, 520px); background: white; border-radius: 6px }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #8884 }
td:first-child, th:first-child { text-align: left }
"""

CURVES = {
    "gradient_norm": ("gradient norm before clipping", "log"),
    "learning_rate_factor": ("learning rate, share of its peak", "linear"),
    "scale": ("scale", "linear"),
    "bias": ("bias", "linear"),
    "images_per_second": ("images a second", "linear"),
    "waiting_share": ("share of the time waiting for data", "linear"),
    "mfu": ("share of the device's peak (MFU)", "linear"),
}


def read_log(run: Path) -> list[Entry]:
    """Entries of a run in order; of steps that were done again after a kill, the last.

    Raises:
        InvalidInput: the folder holds no log.
    """
    path = run / "log.jsonl"
    if not path.is_file():
        raise InvalidInput(f"{run} is not the folder of a run: it holds no log.jsonl")
    entries: dict[int, Entry] = {}
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # a line that a kill cut off
        entries[entry["step"]] = entry
    if not entries:
        raise InvalidInput(f"{path} has no entry yet; a run writes one every `log_every` steps")
    return [entries[step] for step in sorted(entries)]


def write_report(run: Path) -> Path:
    """Write `report.html` into the folder of a run.

    Raises:
        InvalidInput: the folder holds no log.
    """
    entries = read_log(run)
    names = dict.fromkeys(name for entry in entries for name in entry["parts"])
    plots = [_plot(entries, "loss", "sum of the losses", "linear")]
    plots += [_plot(entries, name, name.replace("_", " "), "linear") for name in names]
    plots += [_plot(entries, key, *how) for key, how in CURVES.items() if key in entries[-1]]
    last = entries[-1]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(run.name)}</title><style>{_STYLE}</style><h1>Run {escape(run.name)}</h1>",
        f"<p>{last['step']:,} steps; shaded: stages.</p><div class=scroll><table>",
        f"<tr><th>stage<th>steps<th>loss at its end{''.join(f'<th>{_words(name)}' for name in names)}",
        *(_row(stage, part, list(names)) for stage, part in _stages(entries)),
        "</table></div><div class=plots>",
        *(f"<img alt='{escape(title)}' src='data:image/png;base64,{png}'>" for title, png in plots),
        "</div>",
        _skipped(run),
    ]
    path = run / "report.html"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _stages(entries: list[Entry]) -> list[tuple[str, list[Entry]]]:
    found: list[tuple[str, list[Entry]]] = []
    for entry in entries:
        if not found or found[-1][0] != entry["stage"]:
            found.append((entry["stage"], []))
        found[-1][1].append(entry)
    return found


def _row(stage: str, part: list[Entry], names: list[str]) -> str:
    last = part[-1]
    cells = [escape(stage), f"to {last['step']:,}", f"{last['loss']:.4f}"]
    cells += [f"{last['parts'][name]:.4f}" if name in last["parts"] else "" for name in names]
    return "<tr><td>" + "<td>".join(cells)


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _skipped(run: Path) -> str:
    path = run / "skipped.txt"
    if not path.exists():
        return "<p>No step was skipped.</p>"
    lines = [line[:160] for line in path.read_text().splitlines()]
    return f"<p>{len(lines)} steps were skipped:</p><pre>{escape(chr(10).join(lines))}</pre>"


def _plot(entries: list[Entry], name: str, title: str, scale: str) -> tuple[str, str]:
    from matplotlib.figure import Figure

    steps = [entry["step"] for entry in entries]
    values = [entry.get(name, entry["parts"].get(name, float("nan"))) for entry in entries]
    figure = Figure(figsize=(5.2, 3), layout="constrained")
    axes = figure.subplots()
    for index, (_, part) in enumerate(_stages(entries)):
        if index % 2:
            axes.axvspan(part[0]["step"], part[-1]["step"], color="#8882", linewidth=0)
    axes.plot(steps, values, color="#2f6fb0", linewidth=1.4)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.set_yscale(scale)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return title, base64.b64encode(buffer.getvalue()).decode()
