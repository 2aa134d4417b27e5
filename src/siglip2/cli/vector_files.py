"""Files of named vectors: `.npz` and, with the extra `siglip2[parquet]`, Parquet."""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from siglip2.cli.output import check_file
from siglip2.errors import InvalidInput, Siglip2Error

if TYPE_CHECKING:
    import numpy as np


class VectorFile(Protocol):
    """Takes vectors batch by batch."""

    num_rows: int

    def add(self, names: Sequence[str], embeddings: "np.ndarray") -> None:
        """Append B names and (B, E) vectors."""
        ...

    def close(self) -> None:
        """Write what is missing."""
        ...


def check_output(path: Path) -> None:
    """Say before the work what would fail after it.

    Raises:
        InvalidInput: an ending that is not known, a folder, or a file in one that does not exist.
        Siglip2Error: Parquet without its package.
    """
    if path.suffix not in (".npz", ".parquet"):
        raise InvalidInput(f"--output {path} must end in .npz or .parquet")
    check_file("--output", path)
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise Siglip2Error("Parquet needs pyarrow: pip install 'siglip2[parquet]', or write .npz")


@contextmanager
def open_vector_file(path: Path, embed_dim: int, model: str, fingerprint: str) -> Iterator[VectorFile]:
    """Open a file for writing; whatever ends the block, what was added is in the file.

    It is written under another name and takes the place of an older one only then, and only if anything was
    added.
    """
    partial = path.with_name(path.name + ".partial")
    make = _ParquetFile if path.suffix == ".parquet" else _NpzFile
    file: VectorFile = make(partial, embed_dim, {"model": model, "fingerprint": fingerprint})
    try:
        yield file
    finally:
        file.close()
        if file.num_rows:
            partial.replace(path)
        else:
            partial.unlink()


class _NpzFile:
    def __init__(self, path: Path, embed_dim: int, metadata: dict[str, str]):
        import numpy as np

        self.num_rows = 0
        self._path = path
        self._metadata = metadata
        self._names: list[str] = []
        self._parts = [np.zeros((0, embed_dim), np.float32)]

    def add(self, names: Sequence[str], embeddings: "np.ndarray") -> None:
        self._names.extend(names)
        self._parts.append(embeddings)
        self.num_rows += len(names)

    def close(self) -> None:
        import numpy as np

        arrays = {key: np.array(value) for key, value in self._metadata.items()}
        arrays["names"] = np.array(self._names, dtype=np.str_)
        arrays["embeddings"] = np.concatenate(self._parts)
        with self._path.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


class _ParquetFile:
    """Row groups are written as they come: memory stays constant."""

    def __init__(self, path: Path, embed_dim: int, metadata: dict[str, str]):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.num_rows = 0
        self._pa = pa
        self._vector = pa.list_(pa.float32(), embed_dim)
        fields = [pa.field("name", pa.string()), pa.field("embedding", self._vector)]
        self._schema = pa.schema(fields, metadata=metadata)
        self._writer = pq.ParquetWriter(path, self._schema)

    def add(self, names: Sequence[str], embeddings: "np.ndarray") -> None:
        vectors = self._pa.FixedSizeListArray.from_arrays(embeddings.ravel(), type=self._vector)
        # Row groups of this format hold valid text only.
        texts = [name.encode(errors="replace").decode() for name in names]
        self._writer.write_table(self._pa.table([texts, vectors], schema=self._schema))
        self.num_rows += len(names)

    def close(self) -> None:
        self._writer.close()
