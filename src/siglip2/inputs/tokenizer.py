"""A vocabulary: texts to pieces, from `tokenizer.json` or a SentencePiece model."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from siglip2.errors import InvalidCheckpoint
from siglip2.inputs.tokenizer_sentencepiece import SentencePieces


@runtime_checkable
class Pieces(Protocol):
    """What a tokenizer library does here: plain text in, ids of ordinary pieces out."""

    vocab_size: int

    def id_of(self, piece: str) -> int | None:
        """Id of a piece, or None where the vocabulary lacks it."""
        ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without any token around it."""
        ...


class JsonPieces:
    """Pieces of a `tokenizer.json`, read by the `tokenizers` library."""

    def __init__(self, path: Path):
        from tokenizers import Tokenizer as Library

        try:
            published = Library.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise InvalidCheckpoint(f"{path} is not a tokenizer.json that can be read: {error}") from error
        # The published file matches the names of its added tokens (`<eos>`, `<table>`, ...) inside of a
        # text. A tokenizer of the same model without them cannot: such names are ordinary text to it.
        # The post-processor, which would add a beginning-of-text token, stays behind as well.
        self._library = Library(published.model)
        if published.normalizer is not None:
            self._library.normalizer = published.normalizer
        if published.pre_tokenizer is not None:
            self._library.pre_tokenizer = published.pre_tokenizer
        self.vocab_size = published.get_vocab_size(with_added_tokens=True)
        self._published = published

    def id_of(self, piece: str) -> int | None:
        """Id of a piece, added tokens included."""
        return self._published.token_to_id(piece)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; the library runs a batch on all cores and releases the interpreter's lock."""
        encodings = self._library.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


class Tokenizer:
    """A vocabulary with the ids of its padding and end-of-text tokens. Safe to use from several threads.

    Attributes:
        path: file it was read from.
        vocab_size: rows that an embedding table needs.
        pad_id: fills a text up to the context length; 0 in Gemma's vocabulary.
        eos_id: ends every text; 1 in Gemma's vocabulary.
    """

    def __init__(self, path: Path, pieces: Pieces):
        self.path = path
        self._pieces = pieces
        self.vocab_size = pieces.vocab_size
        self.pad_id = self._reserved("<pad>")
        self.eos_id = self._reserved("<eos>")

    @classmethod
    def from_file(cls, path: str | Path) -> "Tokenizer":
        """Read `tokenizer.json`, or a SentencePiece `.model` (needs the `sentencepiece` extra).

        Raises:
            InvalidCheckpoint: the file is missing, unreadable, or lacks `<pad>` or `<eos>`.
        """
        path = Path(path)
        if not path.is_file():
            raise InvalidCheckpoint(f"there is no tokenizer file {path}")
        return cls(path, SentencePieces(path) if path.suffix == ".model" else JsonPieces(path))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the pieces of each text as it stands: nothing is lower-cased, added, cut or padded.

        Names of reserved tokens in a text are encoded letter by letter like any other text.
        Differs from the paper: big_vision's tokenizer gives a few reserved names (`<table>`, `</h1>`, ...)
        their own ids. A stranger's text must not reach those rows, so here it never does.
        """
        return self._pieces.encode(texts)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the vocabulary file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]

    def _reserved(self, piece: str) -> int:
        found = self._pieces.id_of(piece)
        if found is None:
            raise InvalidCheckpoint(f"{self.path} has no token {piece}, which every SigLIP 2 vocabulary has")
        return found
