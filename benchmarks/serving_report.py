"""The results of the serving benchmark as JSON and as a section of docs/benchmarks.md."""

import json
import os
import platform
import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path

from processor import processor_name
from sections import write_section

START, END = "<!-- serving: written by benchmarks/serving.py -->", "<!-- end of serving -->"
PACKAGES = ("siglip2", "openvino", "fastapi", "uvicorn", "orjson", "pillow", "sqlalchemy")


def read(repository: Path) -> dict:
    """What earlier runs on this processor have measured, or nothing."""
    saved = repository / "benchmarks" / "results" / "serving.json"
    older = json.loads(saved.read_text()) if saved.exists() else {}
    return older if older.get("machine", {}).get("processor") == processor_name() else {}


def save(results: dict, repository: Path, *programs: Path | None) -> None:
    """Keep the results as JSON beside the benchmarks.

    Args:
        results: of `serving.main`.
        repository: where to.
        programs: of other environments, whose versions are listed.
    """
    results["date"] = date.today().isoformat()
    results["machine"] = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    results["versions"] = {name: version(name) for name in PACKAGES}
    results["their_versions"] = [_versions(each) for each in programs if each is not None]
    saved = repository / "benchmarks" / "results" / "serving.json"
    saved.parent.mkdir(exist_ok=True)
    saved.write_text(json.dumps(results, indent=2) + "\n")


def write(results: dict, repository: Path) -> None:
    """Put the section into docs/benchmarks.md, once every part has been measured."""
    stages = results["stages"]
    rest = {name: each for name, each in stages.items() if name not in ("bare", "ours")}
    results = {**results, "others": rest, "bare": stages["bare"], "ours": stages["ours"]}
    write_section(repository / "docs" / "benchmarks.md", START, END, markdown(results))


def _versions(program: Path) -> dict[str, str]:
    """Of what matters in another environment."""
    code = (
        "import json, importlib.metadata as m; names = ('infinity-emb', 'transformers', 'torch', 'fastapi');"
        "print(json.dumps({n: m.version(n) for n in names if n in {d.name for d in m.distributions()}"
        " or n.replace('-', '_') in {d.name for d in m.distributions()}}))"
    )
    python = program if program.name.startswith("python") else program.parent / "python"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _in_turn(ours: dict) -> tuple[float, float]:
    """Images a second of the service and of the bare towers, a few seconds each in turn."""
    served, beside = (ours["turns"][who] for who in ("served", "bare"))
    return served[0] / served[1], beside[0] / beside[1]


def targets(results: dict) -> list[tuple[str, float, str, bool]]:
    """What is demanded of the service: name, what was reached, the bound, whether it holds."""
    ours, bare = results["ours"], results["bare"]["runtime"]
    full, calm = ours["full"], ours["calm"]
    served, beside = _in_turn(ours)
    # Of the cores that the load generator left.
    cores = results["machine"]["cores"]
    left = full["rate"] / (1 - full["client_cores"] / cores)
    rows = [
        ("images/s over the bare towers', four seconds each in turn", served / beside, "at least", 0.9),
        ("images/s over the bare towers', best of each", full["rate"] / bare, "", 0),
        ("the same, of the cores that the load generator leaves", left / bare, "", 0),
        ("images/s over `embed_images` of the same files", full["rate"] / results["bare"]["encoder"], "", 0),
        ("p99 over p50 at 80 % of capacity", calm["p99_ms"] / calm["p50_ms"], "at most", 2.0),
        ("1 image and 1,000 labels over the image alone", ours["labels"]["p50_ms"] / ours["alone"]["p50_ms"],
         "at most", 1.2),
        ("seconds to recover from four times capacity", ours["recovered_after_s"], "at most", 1.0),
        ("memory at the end of the rush over its beginning", ours["memory_mb"][1] / ours["memory_mb"][0],
         "at most", 1.1),
    ]  # fmt: skip
    rows += [
        (f"images/s over {name}", full["rate"] / other["rate"], "at least", 3.0)
        for name, other in results["others"].items()
        if "siglip2" not in name
    ]
    return [
        (
            name,
            reached,
            f"{bound} {limit:g}" if bound else "",
            reached >= limit if bound != "at most" else reached <= limit,
        )
        for name, reached, bound, limit in rows
    ]


def markdown(results: dict) -> str:
    """The section: tables, targets with what was reached, machine and versions."""
    ours, machine, bare = results["ours"], results["machine"], results["bare"]
    served, beside = _in_turn(ours)
    rush = ours["rush"]
    refused = {status: count for status, count in rush["statuses"].items() if status != "200"}
    loads = [
        ("siglip2, accounts and charges", ours["full"]),
        *results["others"].items(),
        ("siglip2 at 80 % of capacity", ours["calm"]),
        ("one at a time: the image", ours["alone"]),
        ("one at a time: 1,000 labels", ours["labels"]),
    ]
    lines = [
        "## Serving",
        "",
        "`python benchmarks/serving.py --write` makes this section. B/16-256 in full size with random",
        f"weights ({bare['precision']} here), on loopback, one JPEG of {results['side']} pixels "
        f"({results['kilobytes']} kB) a request as base64.",
        "The load generator shares the cores; `others` is what the rest of the machine used meanwhile.",
        "",
        "The parts came in turn, in rounds; of each load the best round is shown.",
        "",
        f"Bare, in batches of eight: the towers alone {bare['runtime']:.2f} images/s, `embed_images` of the "
        f"files {bare['encoder']:.2f}. In turn with the service, four seconds each: the towers {beside:.2f}, "
        f"the service {served:.2f}.",
        "",
        _row(["", "images/s", "p50 ms", "p99 ms", "cores: service", "load", "others"]),
        _row(["---", *["---:"] * 6]),
    ]
    for name, load in loads:
        cells = [f"{load['rate']:.2f}", f"{load['p50_ms']:.0f}", f"{load['p99_ms']:.0f}"]
        cells += [f"{load[key]:.2f}" for key in ("service_cores", "client_cores", "other_cores")]
        lines.append(_row([name, *cells]))
    lines += [
        "",
        f"Four times capacity: {ours['served_in_rush']:.1f} images/s are served, the slowest in "
        f"{ours['slowest_in_rush_ms']:.0f} ms; the rest is turned away",
        f"({', '.join(f'{count} with {status}' for status, count in refused.items()) or 'none'}; "
        f"{rush['skipped']} not sent, since 400 connections were busy; {rush['broken']} broken). "
        f"Memory {ours['memory_mb'][0]} MB at first,",
        f"{ours['memory_mb'][1]} MB at the end.",
        "",
        _row(["", "reached", "target", ""]),
        _row(["---", "---:", "---:", "---"]),
    ]
    for name, reached, target, holds in targets(results):
        lines.append(
            _row([name, f"{reached:.2f}", target, "" if not target else "holds" if holds else "missed"])
        )
    used = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    theirs = "; ".join(
        ", ".join(f"{name} {number}" for name, number in each.items()) for each in results["their_versions"]
    )
    lines += [
        "",
        f"{results['date']}, {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"load {bare['load_before']} before the run; {used}. Theirs: {theirs or 'none'}.",
        *([results["note"]] if results["note"] else []),
        "",
    ]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
