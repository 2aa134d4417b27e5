"""The index of a large collection, built by a process of its own that nobody waits for.

python -m siglip2.search.background COLLECTION FINGERPRINT
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 2
"""A second builder gives up after this: the first one does the same work."""

NICENESS = 10


def start_build(place: Path, fingerprint: str) -> bool:
    """Start the process and go on. It ends by itself at once where another one builds already.

    Returns:
        True: nothing more to be asked for.
    """
    options = {"start_new_session": True} if os.name == "posix" else {"creationflags": 0x00000008}
    command = [sys.executable, "-P", "-m", "siglip2.search.background", os.path.abspath(place), fingerprint]
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, **options)  # pyright: ignore
    # It outlives its parent on purpose, which is no reason for a warning when the object goes.
    child.returncode = 0
    return True


def build(place: Path, fingerprint: str) -> None:
    """Build the index of one model of a collection, unless another process does."""
    from siglip2.search.copies import Busy
    from siglip2.search.sqlite_store import SqliteStore
    from siglip2.search.vector_search import VectorSearch

    store = SqliteStore(place, create=False)
    try:
        model = next((each for each in store.models() if each.fingerprint == fingerprint), None)
        if model is not None:
            with suppress(Busy):
                VectorSearch(place, store.id, model).optimise(store, wait_seconds=PATIENCE_SECONDS)
    finally:
        store.close()


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    build(Path(sys.argv[1]), sys.argv[2])
