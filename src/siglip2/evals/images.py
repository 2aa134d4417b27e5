"""Pictures of a data set, still encoded: files, bytes, or a stretch of a tar."""

from dataclasses import dataclass
from pathlib import Path

from siglip2.errors import InvalidImage


@dataclass(frozen=True)
class TarSlice:
    """The bytes of one member of an uncompressed tar."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True)
class ImageFile:
    """One picture.

    Attributes:
        key: its name within the data set, for messages and reports.
        source: where its bytes are.
    """

    key: str
    source: bytes | Path | TarSlice

    def read(self) -> bytes:
        """The encoded picture.

        Raises:
            InvalidImage: the file cannot be read.
        """
        if isinstance(self.source, bytes):
            return self.source
        try:
            if isinstance(self.source, Path):
                return self.source.read_bytes()
            with self.source.path.open("rb") as file:
                file.seek(self.source.offset)
                return file.read(self.source.size)
        except OSError as error:
            raise InvalidImage(f"{self.key} cannot be read: {error.strerror or error}") from error
