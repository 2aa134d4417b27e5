"""`siglip2 search`: find photos of a collection by words, by example, or both."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from siglip2.cli.index import collection_place
from siglip2.errors import InvalidInput

if TYPE_CHECKING:
    from siglip2.search.rows import Hit


def search(
    query: tuple[str, ...] = (),
    *,
    image: tuple[Path, ...] = (),
    not_: Annotated[tuple[str, ...], tyro.conf.arg(name="not")] = (),
    where: tuple[str, ...] = (),
    limit: int = 20,
    offset: int = 0,
    text_weight: float = 1.0,
    image_weight: float = 1.0,
    min_probability: float = 0.0,
    kind: Literal["image", "text"] | None = None,
    mode: Literal["auto", "exact", "index"] = "auto",
    json: bool = False,
    paths: bool = False,
    paths0: bool = False,
    thumbnails: bool = True,
    open: bool = False,
    collection: str | None = None,
    model: str | None = None,
) -> int:
    """Find photos of a collection; exit code 1 if there is no match.

    Args:
        query: phrases; quotes keep the words of one together.
        image: example photos.
        not_: phrases that results should not fit.
        where: filters, such as taken>=2020-06, camera~canon, folder=/photos, near=47.4,8.5,10, words=beach,
            price<20.
        limit: number of results.
        offset: results to leave out at the beginning.
        text_weight: of each phrase beside examples.
        image_weight: of each example beside phrases.
        min_probability: what fits the one phrase less is no match.
        kind: search photos or texts; by default photos where there are any.
        mode: compare with every row, ask the index, or choose.
        json: print one JSON object a line.
        paths: print paths only, one a line.
        paths0: print paths only, with a NUL behind each, for `xargs -0`.
        thumbnails: with small pictures, in terminals that can show them.
        open: show the results as a gallery in the browser, until Ctrl-C.
        collection: its file, or milvus+http://HOST:PORT/NAME; SIGLIP2_COLLECTION, or photos.siglip2 in the
            user's data folder.
        model: which of its models; by default the first.
    """
    if not query and not image:
        raise InvalidInput('say what to look for: siglip2 search "a red bicycle", or --image photo.jpg')

    from siglip2.search.collection import Collection

    with Collection.open(collection_place(collection), model, create=False) as opened:
        if open:
            chosen = (limit, offset, min_probability, kind, mode)
            if image or len(not_) > 1 or chosen != (20, 0, 0.0, None, "auto"):
                raise InvalidInput(
                    "--open takes phrases, one --not and --where; drop an example onto the page, which shows "
                    "all results and has none of --limit, --offset, --min-probability, --kind and --mode"
                )
            return _open_gallery(
                opened, {"q": " ".join(query), "not": "".join(not_), "where": ";".join(where)}
            )
        hits = opened.search(
            query,
            list(image) or None,
            not_=not_,
            where=where,
            limit=limit,
            offset=offset,
            text_weight=text_weight,
            image_weight=image_weight,
            kind=kind,
            min_probability=min_probability,
            mode=mode,
        )
    if not hits:
        print("siglip2: no good match", file=sys.stderr)
        return 1
    if paths or paths0:
        _print_paths(hits, "\0" if paths0 else "\n")
    elif json:
        _print_json(hits)
    else:
        _print_table(hits, thumbnails)
    return 0


def hit_record(hit: "Hit") -> dict[str, Any]:
    """A result as plain values, for JSON."""
    facts = {name: value for name, value in asdict(hit.row.facts).items() if value is not None}
    return {
        "id": hit.row.id,
        "paths": list(hit.row.paths),
        "text": hit.row.text,
        "score": hit.score,
        "cosine": hit.cosine,
        "logit": hit.logit,
        "probability": hit.probability,
        **facts,
        "columns": dict(hit.row.columns),
    }


def _print_paths(hits: Sequence["Hit"], end: str) -> None:
    from siglip2.search.video import real_path

    # Bytes: names of files need not be valid text. Of frames, the video: other programs open files.
    sys.stdout.flush()
    for hit in hits:
        path = real_path(hit.path) if hit.path else hit.row.text or ""
        sys.stdout.buffer.write(os.fsencode(path) + end.encode())
    sys.stdout.buffer.flush()


def _print_json(hits: Sequence["Hit"]) -> None:
    import json

    for hit in hits:
        print(json.dumps(hit_record(hit)))


def _print_table(hits: Sequence["Hit"], thumbnails: bool) -> None:
    from siglip2.cli.thumbnails import terminal_printer

    print_picture = terminal_printer() if thumbnails else None
    for hit in hits:
        chance = "" if hit.probability is None else f"{hit.probability:.2g}"
        name = (hit.path or hit.row.text or "").replace("\t", " ").replace("\n", " ")
        if sys.stdout.isatty():
            print(f"{hit.score:8.3f}  {chance:>9}  {name}")
            if print_picture:
                print_picture(hit.row)
        else:
            print(f"{hit.score:.6g}\t{chance}\t{name}")


def _open_gallery(opened: Any, asked: dict[str, str]) -> int:
    from siglip2.search.gallery import serve_gallery

    given = {name: value for name, value in asked.items() if value}
    serve_gallery(opened, port=0, asked=given, open_browser=True)
    return 0
