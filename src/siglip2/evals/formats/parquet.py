"""Parquet as Hugging Face `datasets` writes it: pictures as structs of bytes, features in the schema."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from siglip2.errors import InvalidInput
from siglip2.evals.images import ImageFile


def read_parquet(paths: Sequence[Path]) -> Iterator[tuple[dict[str, list[Any]], dict[str, Any]]]:
    """Columns of each file, pictures as `ImageFile` under `image`, and the features of its schema.

    Raises:
        InvalidInput: pyarrow is missing, or a file holds no pictures.
    """
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise InvalidInput("reading Parquet needs pyarrow: pip install 'siglip2[parquet]'") from None
    for path in paths:
        try:
            table = parquet.read_table(path)
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{path} cannot be read as Parquet: {error}") from error
        rows: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in table.column_names}
        column = next((name for name in ("image", "img", "jpg") if name in rows), None)
        if column is None:
            raise InvalidInput(f"{path} has no column image, only {', '.join(rows)}")
        rows["image"] = [
            _picture(value, f"{path.name}[{row}]", path) for row, value in enumerate(rows[column])
        ]
        described = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        yield rows, described.get("info", {}).get("features", {})


def _picture(value: Any, key: str, file: Path) -> ImageFile:
    if isinstance(value, bytes):
        return ImageFile(key, value)
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return ImageFile(value.get("path") or key, value["bytes"])
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        # Only beside the file: a path in a table must not reach anything else on the machine.
        return ImageFile(key, file.parent / Path(value["path"]).name)
    raise InvalidInput(
        f"{key} is no picture of Hugging Face datasets: expected a struct with bytes or a path"
    )
