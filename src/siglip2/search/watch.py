"""A collection that follows its folders: files that come, change, move and go. Needs watchfiles."""

import os
from collections.abc import Iterable, Iterator
from threading import Event

from siglip2.errors import Siglip2Error
from siglip2.search.collection import Collection
from siglip2.search.files import absolute, is_wanted
from siglip2.search.indexing import AddReport

QUIET_MS = 2000
"""Changes are taken in when nothing has happened for this long: a file that is being copied is not read."""

RESCAN_SECONDS = 3600
"""Folders are walked again this often: network drives do not tell of changes."""


def watch(
    collection: Collection,
    folders: Iterable[str | os.PathLike[str]],
    *,
    stop: Event | None = None,
    batch_size: int | None = None,
    quiet_ms: int = QUIET_MS,
    rescan_seconds: float = RESCAN_SECONDS,
) -> Iterator[AddReport]:
    """Follow folders until `stop` is set, or for ever; what lies in them at first is for `Collection.add`.

    Args:
        collection: grows and shrinks.
        folders: folders or files.
        stop: ends it.
        batch_size: as in `Collection.add`.
        quiet_ms: time without changes before they are taken in.
        rescan_seconds: time between walks over everything.

    Yields:
        What was done, whenever something was.

    Raises:
        Siglip2Error: watchfiles is missing.
        InvalidInput: a folder that does not exist.
    """
    try:
        from watchfiles import watch as file_changes
    except ModuleNotFoundError as error:
        raise Siglip2Error("--watch needs watchfiles: pip install 'siglip2[search]'") from error
    roots = [absolute(folder) for folder in folders]
    changes = file_changes(
        *roots,
        watch_filter=lambda _, path: is_wanted(path, roots),
        step=quiet_ms,
        debounce=30 * quiet_ms,
        rust_timeout=int(1000 * rescan_seconds),
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=False,
    )
    for group in changes:
        changed = sorted({path for _, path in group}) if group else [r for r in roots if os.path.lexists(r)]
        report = take_in(collection, changed, roots, batch_size=batch_size)
        if report.embedded or report.placed or report.removed or report.broken or report.unlisted:
            yield report


def take_in(
    collection: Collection,
    changed: Iterable[str],
    roots: Iterable[str],
    *,
    batch_size: int | None = None,
) -> AddReport:
    """Bring changed files and folders in, and forget those of them that are gone.

    Additions come first, so that what was moved is found by its content and not embedded again. Where a
    whole root has gone nothing is forgotten: an unmounted disk looks the same.
    """
    there, gone = [], []
    mounted = [root for root in roots if os.path.isfile(root) or (os.path.isdir(root) and os.listdir(root))]
    for path in changed:
        if os.path.lexists(path):
            there.append(path)
        elif any(path.startswith(os.path.join(root, "")) for root in mounted):
            gone.append(path)
    forget = [place for path in gone for place in (path, *collection.store.paths_under(path))]
    return collection.add(there, batch_size=batch_size, forget=forget)
