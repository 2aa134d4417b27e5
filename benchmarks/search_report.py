"""The results of the search benchmark as JSON and as a section of docs/benchmarks.md."""

import json
from pathlib import Path
from typing import Any

START, END = "<!-- search: written by benchmarks/search.py -->", "<!-- end of search -->"


def write(results: dict[str, Any], repository: Path) -> None:
    """Save the JSON beside the benchmarks and put the tables into docs/benchmarks.md.

    What this run has left out, photos or queries, is kept from the one before.
    """
    saved = repository / "benchmarks" / "results" / "search.json"
    if saved.exists():
        older = json.loads(saved.read_text())
        for name in ("photos", "queries"):
            if older.get(name) and not results.get(name):
                results[name] = older[name]
    saved.parent.mkdir(exist_ok=True)
    saved.write_text(json.dumps(results, indent=2) + "\n")
    page = repository / "docs" / "benchmarks.md"
    text = page.read_text() if page.exists() else "# Benchmarks\n"
    if START not in text:
        text = f"{text.rstrip()}\n\n{START}\n{END}\n"
    above, rest = text.split(START)
    page.write_text(f"{above}{START}\n{markdown(results)}{END}{rest.split(END)[1]}")


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
        "| | photos/s |",
        "| --- | ---: |",
    ]
    for name, each in photos.items():
        if name != "count":
            lines.append(
                f"| {name} | {each['photos_per_s']:.2f} |" if "error" not in each else f"| {name} | failed |"
            )
    if "error" not in ours:
        lines += [
            "",
            f"Decoding alone runs at {ours['decode_per_s']:.2f} photos/s, embedding alone at "
            f"{ours['embed_per_s']:.2f}; the whole has {ours['share_of_slower']:.0%} of the slower's speed.",
        ]
    return [*lines, ""]


def _queries(queries: list[dict[str, Any]]) -> list[str]:
    lines = [
        "Single queries over 768-dimensional vectors for the ten nearest, at the narrowest search that",
        "reaches 0.98 on other queries (the last width tried if none does). siglip2: through `Collection`,",
        "with exact scores, rows and paths, as the command does; LanceDB and Milvus Lite with paths; faiss",
        "without rows. Memory: the answering process's own, and with the pages of files that it has mapped.",
        "",
        "| vectors | engine | p50 ms | p99 ms | recall@10 | build s | disk MB | memory MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in queries:
        head = f"| {each['rows']:,} {each['kind']} | {each['engine']} |"
        if "error" in each:
            lines.append(f"{head} {each['error'].replace('|', ' ')} | | | | | |")
            continue
        memory = f"{each['memory_mb']['own']} / {each['memory_mb']['resident']}"
        cells = [each["p50_ms"], each["p99_ms"], each["recall@10"], each["build_s"], each["disk_mb"], memory]
        lines.append(f"{head} {' | '.join(str(cell) for cell in cells)} |")
    return [*lines, ""]
