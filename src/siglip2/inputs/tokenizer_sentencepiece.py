"""Pieces of a SentencePiece `tokenizer.model`, with its user-defined names made ordinary.

SentencePiece never matches control tokens (`<eos>`) in a text, but it does match user-defined ones
(`<table>`, `<start_of_turn>`). Marking these as normal pieces leaves every id in place; runs of newlines and
spaces, which Gemma also defines this way, are still found, because pairs of them merge.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from siglip2.errors import InvalidCheckpoint, Siglip2Error

# Field numbers and values of sentencepiece_model.proto.
_PIECES = 1
_PIECE_TYPE = 3
_NORMAL = 1
_USER_DEFINED = 4


class SentencePieces:
    """Pieces of a SentencePiece model."""

    def __init__(self, path: Path):
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise Siglip2Error(
                f"{path} is a SentencePiece model: install siglip2[sentencepiece], or give a tokenizer.json"
            ) from error
        try:
            processor = SentencePieceProcessor()
            processor.LoadFromSerializedProto(without_user_defined(path.read_bytes()))
        except (RuntimeError, ValueError, IndexError) as error:
            raise InvalidCheckpoint(
                f"{path} is not a SentencePiece model that can be read: {error}"
            ) from error
        self._processor = processor
        self.vocab_size = processor.GetPieceSize()

    def id_of(self, piece: str) -> int | None:
        """Id of a piece, control tokens included."""
        found = self._processor.PieceToId(piece)
        return found if self._processor.IdToPiece(found) == piece else None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        return self._processor.Encode(list(texts), out_type=int, add_bos=False, add_eos=False)


def without_user_defined(model: bytes) -> bytes:
    """The same serialized model with every user-defined piece marked as a normal one."""
    edited = bytearray(model)
    for number, start, end in _fields(model, 0, len(model)):
        if number != _PIECES:
            continue
        for inner, value, _ in _fields(model, start, end):
            if inner == _PIECE_TYPE and model[value] == _USER_DEFINED:
                edited[value] = _NORMAL
    return bytes(edited)


def _fields(message: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Field number, start and end of every value in a protocol-buffer message."""
    while position < end:
        key, position = _varint(message, position)
        start = position
        match key & 7:
            case 0:
                _, position = _varint(message, position)
            case 1:
                position += 8
            case 2:
                length, start = _varint(message, position)
                position = start + length
            case 5:
                position += 4
            case wire:
                raise ValueError(f"unknown wire type {wire}")
        yield key >> 3, start, position


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
