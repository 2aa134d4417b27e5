"""The results of the search benchmark as JSON and as a section of docs/benchmarks.md."""

import json
from pathlib import Path
from typing import Any

from sections import write_section

START, END = "<!-- search: written by benchmarks/search.py -->", "<!-- end of search -->"


def write(results: dict[str, Any], repository: Path) -> None:
    """Save the JSON beside the benchmarks and put the tables into docs/benchmarks.md.

    What this run has left out, photos or queries of an engine, is kept from an earlier one on this processor.
    """
    saved = repository / "benchmarks" / "results" / "search.json"
    if saved.exists():
        older = json.loads(saved.read_text())
        if older["machine"]["processor"] == results["machine"]["processor"]:
            _keep(older, results)
    saved.parent.mkdir(exist_ok=True)
    saved.write_text(json.dumps(results, indent=2) + "\n")
    write_section(repository / "docs" / "benchmarks.md", START, END, markdown(results))


def _keep(older: dict[str, Any], results: dict[str, Any]) -> None:
    if "photos" in older:
        results.setdefault("photos", older["photos"])
    queries = {_asked(each): each for each in [*older["queries"], *results["queries"]]}
    results["queries"] = [queries[key] for key in sorted(queries)]


def _asked(line: dict[str, Any]) -> tuple[int, str, int]:
    engines = ("siglip2", "siglip2 exact", "faiss", "lancedb", "milvus-lite")
    return line["rows"], line["kind"], engines.index(line["engine"])


def markdown(results: dict[str, Any]) -> str:
    """The section: tables, machine and versions."""
    machine = results["machine"]
    lines = ["## Search", "", "`python benchmarks/search.py --write` makes this section.", ""]
    if "photos" in results:
        lines += _photos(results["photos"])
    if results["queries"]:
        lines += _queries(results["queries"])
    used = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines += [
        f"{results['date']}, {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads "
        f"used, load {machine['load']} before the run. {results['note']}".rstrip(),
        "",
        f"{used}.",
        "",
    ]
    return "\n".join(lines)


def _photos(photos: dict[str, Any]) -> list[str]:
    ours = photos["siglip2"]
    lines = [
        f"Indexing {photos['count']} JPEG photos of 12 megapixels with B/16-256 in full size (random",
        "weights), from files to stored vectors. The others' ways: `transformers` in torch with the same",
        "weights, Pillow in threads (as rclip decodes) or in a torch loader's processes (as clip-retrieval).",
        "",
        "| | photos/s | processor s a photo |",
        "| --- | ---: | ---: |",
    ]
    for name, each in photos.items():
        if name != "count":
            rate, cost = (each.get(key, "failed") for key in ("photos_per_s", "cpu_s"))
            lines.append(f"| {name} | {rate} | {cost} |")
    if "error" not in ours:
        decode, embed = (f"{ours[name]:.1f} photos/s" for name in ("decode_per_s", "embed_per_s"))
        lines += [
            "",
            f"With all cores for each, decoding alone runs at {decode} and embedding alone at {embed}.",
            f"The whole has {ours['share_of_slower']:.0%} of the slower's speed, and "
            f"{ours['share_of_possible']:.0%} of what is possible where both",
            "share these cores and none is ever idle.",
        ]
    return [*lines, ""]


def _queries(queries: list[dict[str, Any]]) -> list[str]:
    lines = [
        "Single queries over 768-dimensional vectors for the ten nearest, at the narrowest search that",
        "reaches 0.98 on other queries (the last width tried if none does). siglip2: through `Collection`,",
        "with exact scores, rows and paths, as the command does; LanceDB and Milvus Lite with paths; faiss",
        "without rows. Building is in processor seconds, CPU ms the median query's processor time.",
        "Memory: the answering process's own, and with the pages of files that it has mapped.",
        "",
        "| vectors | engine | p50 ms | p99 ms | CPU ms | recall@10 | build CPU s | disk MB | memory MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in queries:
        head = f"| {each['rows']:,} {each['kind']} | {each['engine']} |"
        if "error" in each:
            lines.append(f"{head} {each['error'].replace('|', ' ')} | | | | | |")
            continue
        memory = f"{each['memory_mb']['own']} / {each['memory_mb']['resident']}"
        columns = ("p50_ms", "p99_ms", "cpu_ms", "recall@10", "build_cpu_s", "disk_mb")
        cells = [*(each.get(column, "") for column in columns), memory]
        lines.append(f"{head} {' | '.join(str(cell) for cell in cells)} |")
    return [*lines, ""]
