"""Any sample of a folder of tars by its key, through the index of megatron-energon; local or remote."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from siglip2.data.shards import split_name
from siglip2.errors import InvalidInput

INDEX = ".nv-meta"
"""energon's folder beside the shards."""


def write_index(folder: Path, num_samples: int) -> None:
    """Index the tars of a folder: where each file of each sample begins.

    Args:
        folder: of tars.
        num_samples: that they hold; energon passes over a tar that it cannot read.

    Raises:
        InvalidInput: no tars, compressed ones, two samples of one key, or megatron-energon is not installed.
    """
    tars = tars_to_index(folder)
    with _energon():
        from megatron.energon.flavors.webdataset.prepare import WebdatasetPreparator

        said = io.StringIO()
        try:
            # It prints how far it is, which is the commands' own to say.
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
                WebdatasetPreparator.prepare_dataset(
                    folder,
                    tars,
                    split_parts_ratio=[("train", 1.0)],
                    shuffle_seed=None,
                    workers=min(8, os.cpu_count() or 1),
                )
        except SystemExit:
            # Its way to say that two samples have one key.
            reason = next((line for line in said.getvalue().splitlines() if "duplicate key:" in line), "")
            raise InvalidInput(
                f"{folder} cannot be indexed: {reason or said.getvalue()}; `siglip2 data prepare` writes the "
                "shards anew with keys of their own"
            ) from None
    access = RandomAccess(folder)
    indexed = len(access)
    access.close()
    if indexed != num_samples:
        raise InvalidInput(f"{folder} holds {num_samples} samples, and its index {indexed}: a tar is broken")


def tars_to_index(folder: Path) -> list[str]:
    """File names of the tars of a folder.

    Raises:
        InvalidInput: there are none, or some are compressed.
    """
    if folder.is_file():
        raise InvalidInput(f"an index is of a folder of tars: name the folder of {folder}")
    tars = sorted(path.name for path in folder.glob("*.tar"))
    if not tars or any(folder.glob("*.tar.gz")):
        raise InvalidInput(
            f"{folder} has {'compressed tars' if tars else 'no plain .tar'}, and samples of compressed ones "
            "cannot be found without reading them all: `siglip2 data prepare` writes them anew"
        )
    return tars


class RandomAccess:
    """The files of samples, by `key.extension`.

    A remote folder has the form `msc://PROFILE/PATH`, with profiles (S3, Google, Azure and others) as
    NVIDIA's multi-storage-client describes them. Pickled and unpickled, it opens its files anew.
    """

    def __init__(self, folder: Path | str):
        """Open the index.

        Args:
            folder: of tars with an index.

        Raises:
            InvalidInput: there is no index, or megatron-energon is not installed.
        """
        self.folder = folder
        self._open()

    def _open(self) -> None:
        with _energon():
            from megatron.energon.cache.file_store import WebdatasetFileStore
            from megatron.energon.epathlib import EPath

            path = EPath(self.folder)
            if not (path / INDEX / "index.sqlite").is_file():
                raise InvalidInput(
                    f"{self.folder} has no index: `siglip2 data check FOLDER --index` makes one"
                )
            self._store: Any = WebdatasetFileStore(path)

    def __len__(self) -> int:
        return len(self._store)

    def read(self, name: str) -> bytes:
        """Bytes of a file, such as `000000017.json`.

        Raises:
            InvalidInput: it is not there, or cannot be read.
        """
        try:
            return self._store[name][0]
        except KeyError:
            raise InvalidInput(f"{self.folder} has no {name}") from None
        except OSError as error:
            raise InvalidInput(f"{name} of {self.folder} cannot be read: {error}") from None

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        key, extension = split_name(name)
        return any(part == extension for part, _, _ in self._store.list_sample_parts(key))

    def close(self) -> None:
        """Close all files."""
        self._store.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.folder = state["folder"]
        self._open()


def read_beside(folder: Path | str, name: str) -> bytes | None:
    """A small file of a folder, local or remote; None where it has none."""
    if isinstance(folder, Path) or "://" not in folder:
        path = Path(folder) / name
        return path.read_bytes() if path.is_file() else None
    with _energon():
        from megatron.energon.epathlib import EPath

        remote = EPath(folder) / name
        return remote.read_bytes() if remote.is_file() else None


@contextlib.contextmanager
def _energon() -> Iterator[None]:
    try:
        # What it warns about when it is imported is for its authors.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import megatron.energon  # noqa: F401
    except ModuleNotFoundError:
        raise InvalidInput("indexed shards need megatron-energon: pip install 'siglip2[data]'") from None
    yield
