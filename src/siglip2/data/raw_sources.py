"""Captioned pictures as people have them: tables beside photos, Hugging Face `datasets`, img2dataset."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from siglip2.data.request import content_fingerprint, files_fingerprint
from siglip2.data.sample import IMAGE_EXTENSIONS, Description, captions_of, describe, image_of
from siglip2.data.shards import read_shard
from siglip2.errors import InvalidInput
from siglip2.rows import csv_rows, json_rows

PICTURE_COLUMNS = ("path", "image", "file", "file_name", "filename", "filepath", "image_path", "jpg", "png")
CAPTION_COLUMNS = ("caption", "captions", "text", "texts", "sentence", "sentences")
LANGUAGE_COLUMNS = ("language", "lang")
TABLE_NAMES = ("captions", "metadata")


@dataclass(frozen=True)
class RawSample:
    """One picture before anything is looked at.

    Attributes:
        source: what people know it by.
        read: its bytes; raises OSError or ValueError where there are none.
        describe: its captions; raises ValueError where they have no known form.
    """

    source: str
    read: Callable[[], bytes]
    describe: Callable[[], Description]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of columns; empty ones are looked for among the usual names."""

    picture: str = ""
    caption: str = ""
    language: str = ""
    split: str = ""
    """Of a Hugging Face data set that has several."""


@dataclass(frozen=True)
class RawSource:
    """Pictures in an order that stays.

    Attributes:
        kind: what was recognised.
        samples: begins anew at each call.
        total: how many there are; None where only reading tells.
        fingerprint: differs when the source does.
        columns: where its pictures and captions are; empty where it has no columns.
    """

    kind: str
    samples: Callable[[], Iterator[RawSample]]
    total: int | None
    fingerprint: str
    columns: Columns = Columns()


def open_raw(path: Path, columns: Columns | None = None) -> RawSource:
    """Recognise what lies at a path.

    Raises:
        InvalidInput: nothing known, or without the columns or the splits of which some are named.
    """
    columns = columns or Columns()
    found = _recognised(path, columns)
    if columns.split and not found.columns.split:
        raise InvalidInput(f"{path} ({found.kind}) has no splits: leave out the split {columns.split!r}")
    named = [each for each in (columns.picture, columns.caption, columns.language) if each]
    if named and found.columns == Columns():
        raise InvalidInput(f"{path} ({found.kind}) has no columns: leave out {', '.join(map(repr, named))}")
    return found


def _recognised(path: Path, columns: Columns) -> RawSource:
    if path.is_file():
        return (
            _tars([path]) if path.name.endswith((".tar", ".tar.gz")) else _table(path, path.parent, columns)
        )
    if not path.is_dir():
        raise InvalidInput(f"{path} is neither a file nor a folder")
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return _hugging_face(path, columns)
    named = [path / f"{name}{ending}" for name in TABLE_NAMES for ending in (".csv", ".jsonl", ".parquet")]
    table = next((each for each in named if each.exists()), None)
    if table is not None:
        return _table(table, path, columns)
    if tars := sorted([*path.glob("*.tar"), *path.glob("*.tar.gz")]):
        return _tars(tars)
    if parquets := sorted(path.glob("*.parquet")):
        return _parquet_with_pictures(parquets, columns)
    if pictures := _files_with_texts(path):
        return _files(pictures, path)
    raise InvalidInput(
        f"nothing known lies in {path}: expected captions.csv, .jsonl or .parquet beside the pictures, a "
        "folder that `datasets` saved, or the tars, Parquet files or folders of img2dataset"
    )


def _table(table: Path, folder: Path, columns: Columns) -> RawSource:
    """Pictures by path; rows of one path, which need not follow each other, are one sample."""
    rows = list(read_rows(table))
    if not rows:
        raise InvalidInput(f"{table} has no rows")
    # JSON leaves out what a row has not, the first one too.
    found = _found_columns(dict.fromkeys(name for row in rows for name in row), columns, table)
    together: dict[str, list[Mapping[str, Any]]] = {}
    for number, row in enumerate(rows, 1):
        name = row.get(found.picture)
        if not isinstance(name, str) or not name:
            raise InvalidInput(f"{table}, row {number}: no path in the column {found.picture}")
        together.setdefault(name, []).append(row)

    def samples() -> Iterator[RawSample]:
        for name, of_picture in together.items():
            yield RawSample(
                name,
                (folder / name).read_bytes,
                lambda of_picture=of_picture, name=name: _described(of_picture, found, name),
            )

    return RawSource(f"table {table.name}", samples, len(together), content_fingerprint(table), found)


def read_rows(table: Path) -> Iterator[dict[str, Any]]:
    """Rows of a .csv, .jsonl or .parquet.

    Raises:
        InvalidInput: another kind of file, one that cannot be read, or a line that is no row.
    """
    if table.suffix not in ROWS:
        raise InvalidInput(f"{table}: expected a table as .csv, .jsonl or .parquet, or a .tar")
    yield from ROWS[table.suffix](table)


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowInvalid, parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except ArrowInvalid as error:
        raise InvalidInput(f"{path} is not Parquet: {error}") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None


ROWS = {".csv": csv_rows, ".jsonl": json_rows, ".parquet": _parquet_rows}
"""Who reads tables of each kind."""


def _found_columns(row: Mapping[str, Any], columns: Columns, where: Path) -> Columns:
    def find(asked: str, usual: Sequence[str], what: str) -> str:
        if asked and asked not in row:
            raise InvalidInput(f"{where} has no column {asked}; it has {', '.join(row)}")
        name = asked or next((each for each in usual if each in row), "")
        if not name and what:
            raise InvalidInput(
                f"{where}: none of its columns ({', '.join(row)}) is {what}; name one with --{what}-column"
            )
        return name

    return Columns(
        picture=find(columns.picture, PICTURE_COLUMNS, "image"),
        caption=find(columns.caption, CAPTION_COLUMNS, "caption"),
        language=find(columns.language, LANGUAGE_COLUMNS, ""),
    )


def _described(rows: Sequence[Mapping[str, Any]], columns: Columns, source: str) -> Description:
    captions = tuple(
        caption
        for row in rows
        for caption in captions_of(row.get(columns.caption), row.get(columns.language) or None)
    )
    return Description(captions=captions, source=source)


def _hugging_face(folder: Path, columns: Columns) -> RawSource:
    try:
        from datasets import DatasetDict, Image, load_from_disk
    except ModuleNotFoundError:
        raise InvalidInput(f"reading {folder} needs datasets: pip install datasets") from None
    loaded, split = load_from_disk(str(folder)), ""
    if isinstance(loaded, DatasetDict):
        if columns.split not in loaded:
            raise InvalidInput(
                f"{folder} has the splits {', '.join(map(str, loaded))}: name one with --split"
            )
        loaded, split = loaded[columns.split], columns.split
    found = replace(_found_columns(dict.fromkeys(loaded.column_names), columns, folder), split=split)
    undecoded = loaded.cast_column(found.picture, Image(decode=False))

    def samples() -> Iterator[RawSample]:
        for number, row in enumerate(undecoded):
            assert isinstance(row, dict)
            picture = row[found.picture] or {}
            source = picture.get("path") or f"row {number}"
            yield RawSample(
                source,
                lambda picture=picture: picture.get("bytes") or Path(picture.get("path") or "").read_bytes(),
                lambda row=row, source=source: _described([row], found, source),
            )

    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("cache-")
    )
    return RawSource("datasets", samples, len(undecoded), files_fingerprint(files), found)


def _tars(paths: Sequence[Path]) -> RawSource:
    def samples() -> Iterator[RawSample]:
        for path in paths:
            for sample in read_shard(path):
                yield _of_files(f"{path.name}/{sample.key}", sample.files)

    return RawSource(f"{len(paths)} WebDataset tars", samples, None, files_fingerprint(paths))


def _of_files(source: str, files: Mapping[str, bytes]) -> RawSample:
    def read() -> bytes:
        found = image_of(files)
        if found is None:
            raise ValueError(f"no picture, only {', '.join(files)}")
        return found[1]

    def described() -> Description:
        own = describe(files)
        return Description(
            captions=own.captions, regions=own.regions, source=own.source or source, other=own.other
        )

    return RawSample(source, read, described)


def _parquet_with_pictures(paths: Sequence[Path], columns: Columns) -> RawSource:
    """img2dataset's Parquet files: the bytes of the picture in a column."""
    from pyarrow import parquet

    found = _found_columns(dict.fromkeys(parquet.read_schema(paths[0]).names), columns, paths[0])
    total = sum(parquet.read_metadata(path).num_rows for path in paths)

    def samples() -> Iterator[RawSample]:
        for path in paths:
            for number, row in enumerate(_parquet_rows(path)):
                source = str(row.get("url") or row.get("key") or f"{path.name}, row {number}")
                yield RawSample(
                    source,
                    lambda row=row: _bytes(row.get(found.picture)),
                    lambda row=row, source=source: _described([row], found, source),
                )

    return RawSource(f"{len(paths)} Parquet files", samples, total, files_fingerprint(paths), found)


def _bytes(value: Any) -> bytes:
    # `datasets` writes an object of bytes and path, img2dataset the bytes, empty where the download failed.
    content = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(content, bytes) or not content:
        raise ValueError("no bytes in the row")
    return content


def _files_with_texts(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower().lstrip(".") in IMAGE_EXTENSIONS and _texts_beside(path)
    )


def _files(pictures: Sequence[Path], folder: Path) -> RawSource:
    """img2dataset's folders: a picture, a txt and a json of one name."""

    def samples() -> Iterator[RawSample]:
        for path in pictures:
            source = str(path.relative_to(folder))
            yield RawSample(
                source, path.read_bytes, lambda path=path, source=source: _described_beside(path, source)
            )

    everything = [file for path in pictures for file in (path, *_texts_beside(path))]
    return RawSource(
        f"{len(pictures)} files with texts", samples, len(pictures), files_fingerprint(everything)
    )


def _described_beside(picture: Path, source: str) -> Description:
    texts = {file.suffix[1:]: file.read_bytes() for file in _texts_beside(picture)}
    return _of_files(source, texts).describe()


def _texts_beside(picture: Path) -> list[Path]:
    return [file for file in (picture.with_suffix(".txt"), picture.with_suffix(".json")) if file.exists()]
