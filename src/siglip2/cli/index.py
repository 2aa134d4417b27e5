"""`siglip2 index`: make a collection of photos or texts, and look after it."""

import os
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from siglip2.errors import InvalidInput

if TYPE_CHECKING:
    from siglip2.search.collection import Collection
    from siglip2.search.indexing import AddReport

Action = Literal[
    "add", "add-texts", "reembed", "stats", "verify", "duplicates", "optimise", "export", "remove", "serve"
]


def index(
    action: Action,
    paths: tuple[Path, ...] = (),
    *,
    collection: str | None = None,
    model: str | None = None,
    batch_size: int | None = None,
    check_content: bool = False,
    watch: bool = False,
    ray: str | None = None,
    text_column: str = "text",
    where: tuple[str, ...] = (),
    recall: float | None = None,
    sample: int = 100,
    similarity: float = 0.97,
    output: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8123,
) -> int:
    """Make a collection, and look after it.

    add FOLDER...: bring photos in, and forget those that are gone; the same command goes on after a stop.
    add-texts FILE: bring in texts, one a line of .txt, or rows of .csv, .tsv or .jsonl with further columns.
    reembed: make vectors of another model (--model) for all there is, beside the present ones.
    stats: what the collection holds. verify: make a sample of vectors again and compare.
    duplicates: exact copies and groups of near-duplicates.
    optimise: build the index now and measure its recall. export: vectors to a file (--output).
    remove FILE...: forget photos or folders of them; with --where: remove texts.
    serve: a gallery page on this machine.

    Args:
        action: what to do.
        paths: folders and files.
        collection: its file, or milvus+http://HOST:PORT/NAME; SIGLIP2_COLLECTION, or photos.siglip2 in the
            user's data folder.
        model: which model; by default the first of the collection, for a new one SIGLIP2_MODEL or
            google/siglip2-base-patch16-256.
        batch_size: photos per run of the tower and per commit.
        check_content: read files again whose size and time have not changed.
        watch: add: go on until Ctrl-C, and take in what comes, changes, moves and goes.
        ray: add: embed on the machines of the Ray cluster at this address, which see the same files.
        text_column: add-texts: which column is the text.
        where: remove: filters; texts that pass all of them are removed.
        recall: optimise: share of the exact ten nearest that the index should find; kept for later builds,
            which happen by themselves past 100,000 rows; at first 0.98.
        sample: verify: number of photos.
        similarity: duplicates: the least cosine.
        output: export: .npz or .parquet.
        host: serve: address to listen on.
        port: serve: 0 takes a free one.
    """
    if action in ("add", "add-texts", "remove") and not paths and not (action == "remove" and where):
        raise InvalidInput(f"siglip2 index {action} needs at least one path")
    if where and action != "remove":
        raise InvalidInput(f"--where is for `index remove`, and not for {action}")

    from siglip2.search.collection import Collection
    from siglip2.search.files import absolute

    if action == "add":
        for path in paths:  # before a collection is made for them
            absolute(path)
    texts = _checked_texts(paths, text_column) if action == "add-texts" else []
    place = collection_place(collection)
    making = action in ("add", "add-texts")
    if making and collection is None and "SIGLIP2_COLLECTION" not in os.environ:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
    with Collection.open(place, model, create=making, add_model=action == "reembed") as opened:
        match action:
            case "add":
                status = _add(opened, paths, batch_size, check_content, ray)
                return _watch(opened, paths, batch_size) if watch else status
            case "add-texts":
                for path, rows in zip(paths, texts, strict=True):
                    print(f"{opened.add_texts(rows, text_column=text_column)} texts from {path}")
            case "reembed":
                return _report(opened.reembed())
            case "stats":
                _stats(opened, place)
            case "verify":
                return _verify(opened, sample)
            case "duplicates":
                _duplicates(opened, similarity)
            case "optimise":
                quality = opened.vectors.optimise(opened.store, recall)
                print(
                    f"recall@10 {quality.recall_at_10:.4f} in {quality.cells} cells of the index, "
                    f"target {quality.target:g}"
                )
                return 0 if quality.recall_at_10 >= quality.target else 1
            case "export":
                _export(opened, output)
            case "remove":
                _remove(opened, paths, where)
            case "serve":
                from siglip2.search.gallery import serve_gallery

                serve_gallery(opened, host=host, port=port)
    return 0


def collection_place(named: str | None) -> str:
    """The collection's file or address: as named, SIGLIP2_COLLECTION, or a file in the user's data folder."""
    if named is not None:
        return named
    if "SIGLIP2_COLLECTION" in os.environ:
        return os.environ["SIGLIP2_COLLECTION"]
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return str(Path(data) / "siglip2" / "photos.siglip2")


def _add(
    opened: "Collection",
    paths: tuple[Path, ...],
    batch_size: int | None,
    check_content: bool,
    ray: str | None,
) -> int:
    from siglip2.progress import progress_bar
    from siglip2.search.files import absolute, find_photos

    watched = sys.stderr.isatty()
    # Walked twice where someone watches: a bar without its end says little.
    total = sum(1 for path in paths for _ in find_photos(absolute(path))) if watched else None
    with progress_bar("photos", total, enabled=watched) as advance:
        report = opened.add(
            paths, batch_size=batch_size, check_content=check_content, ray=ray, advance=advance
        )
    return _report(report)


def _watch(opened: "Collection", paths: tuple[Path, ...], batch_size: int | None) -> int:
    from siglip2.search.watch import watch

    print("watching; Ctrl-C ends it", flush=True)
    for report in watch(opened, paths, batch_size=batch_size):
        _report(report)
        sys.stdout.flush()
    return 0


def _report(report: "AddReport") -> int:
    print(
        f"{report.found} photos: {report.embedded} embedded, {report.known} unchanged, {report.placed} moved "
        f"or copied, {len(report.broken)} unusable; {report.removed} removed"
    )
    for folder in report.kept_folders:
        print(
            f"siglip2: nothing is left in {folder}: its photos are kept in case a disk is not mounted; "
            "`siglip2 index remove` forgets them",
            file=sys.stderr,
        )
    for reason in report.unlisted:
        print(f"siglip2: {reason}; what is known of its photos is kept", file=sys.stderr)
    for broken in report.broken:
        print(f"  {broken.reason}", file=sys.stderr)
    return 1 if report.broken or report.unlisted else 0


def _checked_texts(paths: tuple[Path, ...], text_column: str) -> list[Iterator[Any]]:
    """Rows of files, of each of which the first has been read: before a collection is made for them."""
    from siglip2.search.text_files import read_texts, text_row

    files = [read_texts(path, text_column) for path in paths]
    first = [list(islice(rows, 1)) for rows in files]
    for row in chain(*first):
        text_row(row, text_column)
    return [chain(*each) for each in zip(first, files, strict=True)]


def _stats(opened: "Collection", place: str) -> None:
    file = Path(place).expanduser()
    size = ""
    if file.exists():
        files = (file, *file.with_name(file.name + ".cache").glob("*"))
        size = f", {sum(each.stat().st_size for each in files) / 1e6:.1f} MB with its copies"
    print(f"collection  {place}{size}")
    for model in opened.store.models():
        mark = "  (searched)" if model == opened.model else ""
        print(
            f"model       {model.model_id} ({model.fingerprint}): {opened.store.count(model)} vectors{mark}"
        )
    print(f"unusable    {len(opened.store.broken_files())} files")
    print(f"index       {_index_line(opened) if file.exists() else 'kept by Milvus'}")


def _index_line(opened: "Collection") -> str:
    from siglip2.search.vector_search import EXACT_ROWS

    state, quality = opened.vectors.index_state(opened.store), opened.vectors.quality()
    if state is None:
        if len(opened) > EXACT_ROWS:
            return f"none yet for more than {EXACT_ROWS:,} rows: it is built in the background"
        return f"none is needed up to {EXACT_ROWS:,} rows: searches compare with every row"
    line = f"{min(state.count, len(opened))} of {len(opened)} vectors, the rest is scanned"
    if quality is None:
        return f"{line}; recall not measured yet"
    scanned = "; below it, so searches compare with every row" if opened.vectors.misses_target() else ""
    return (
        f"{line}; recall@10 {quality.recall_at_10:.4f} of exact on {quality.num_probes} of its vectors, "
        f"target {quality.target:g}, in {quality.cells} cells{scanned}"
    )


def _verify(opened: "Collection", sample: int) -> int:
    from siglip2.search.upkeep import verify

    report = verify(opened, sample)
    print(f"{report.checked} photos made again: smallest cosine {report.smallest_cosine:.6f}")
    for problem in report.problems:
        print(f"  {problem}", file=sys.stderr)
    return 1 if report.problems else 0


def _duplicates(opened: "Collection", similarity: float) -> None:
    from siglip2.search.duplicates import duplicates

    for group in duplicates(opened, similarity):
        print(f"{group.least_cosine:.4f}")
        for row in group.rows:
            for name in row.paths or (row.text,):
                print(f"  {name}")


def _export(opened: "Collection", output: Path | None) -> None:
    import numpy as np

    from siglip2.cli.vector_files import check_output, open_vector_file
    from siglip2.search.files import likeliest

    if output is None:
        raise InvalidInput("export needs --output FILE.npz or FILE.parquet")
    check_output(output)
    ids, vectors = opened.vectors.all(opened.store)
    if not len(ids):
        raise InvalidInput("the collection holds no vectors to export: add photos to it first")
    model = opened.model
    with open_vector_file(output, model.embed_dim, model.model_id, model.fingerprint) as file:
        for start in range(0, len(ids), 1024):
            rows = opened.store.rows(ids[start : start + 1024].tolist())
            part = np.asarray(vectors[start : start + 1024])
            file.add([likeliest(row.paths) or row.text or "" for row in rows], part)
    print(f"{file.num_rows} vectors of {model.embed_dim} numbers in {output}")


def _remove(opened: "Collection", paths: tuple[Path, ...], where: tuple[str, ...]) -> None:
    if where:
        print(f"{opened.remove_texts(where)} texts removed from the collection")
    if not paths:
        return
    for path in paths:
        full = os.path.abspath(path.expanduser())
        opened.store.forget_files([full, *opened.store.paths_under(full)])
    print(f"{opened.store.remove_unplaced()} photos removed from the collection; their files are untouched")
