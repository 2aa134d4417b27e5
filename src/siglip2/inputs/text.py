"""Texts become token ids as the released models were trained on them.

Lower-case, Gemma's pieces, no beginning-of-text token, one end-of-text token, then padding to exactly the
context length (big_vision: `lower(key="text")|tok(length=64, model="gemma", bos="no", eos="sticky")`).
Padding is attended and the last position is pooled, so it is part of the model and not a matter of batching.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from tokenizers.normalizers import Lowercase as Lowercaser

from siglip2.config import Lowercase
from siglip2.errors import InvalidInput
from siglip2.inputs.tokenizer import Tokenizer


def checked_lowercase(lowercase: Lowercase) -> Lowercase:
    """The same word.

    Raises:
        InvalidInput: it is not one of `Lowercase`; texts would keep their capitals without a word.
    """
    if lowercase not in get_args(Lowercase):
        raise InvalidInput(f"lowercase is {lowercase!r}; there are {', '.join(get_args(Lowercase))}")
    return lowercase


@dataclass(frozen=True)
class TextPreprocessor:
    """Texts to (T, context_length) token ids. Safe to call from several threads.

    Attributes:
        tokenizer: pieces of a vocabulary.
        context_length: tokens of every text, padding included.
        lowercase: which letters are lower-cased. `ascii` is what `tf.strings.lower` does, with which the
            released models were trained: "É" stays upper case.
    """

    tokenizer: Tokenizer
    context_length: int = 64
    lowercase: Lowercase = "ascii"

    def __call__(self, texts: Iterable[str]) -> np.ndarray:
        """Token ids of texts.

        Args:
            texts: T strings. A name of a reserved token in them, such as `<eos>`, is plain text.

        Returns:
            (T, context_length) int32. Texts that are too long keep their first context_length - 1 tokens
            and the end-of-text token.

        Raises:
            InvalidInput: a text is not a string, or not valid Unicode.
        """
        pieces = self.tokenizer.encode(self._lowered(texts))
        ids = np.full((len(pieces), self.context_length), self.tokenizer.pad_id, dtype=np.int32)
        for row, tokens in zip(ids, pieces, strict=True):
            kept = tokens[: self.context_length - 1]
            row[: len(kept)] = kept
            row[len(kept)] = self.tokenizer.eos_id
        return ids

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the same text might give other ids; for caches of text embeddings."""
        parts = f"{self.tokenizer.fingerprint}|{self.context_length}|{self.lowercase}"
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def _lowered(self, texts: Iterable[str]) -> Sequence[str]:
        if isinstance(texts, str):
            raise InvalidInput(f"expected a list of texts, got the single string {texts!r}: put it in a list")
        return [self._lower(position, text) for position, text in enumerate(texts)]

    def _lower(self, position: int, text: object) -> str:
        if not isinstance(text, str):
            raise InvalidInput(
                f"text {position} is {text!r} of type {type(text).__name__}: expected a string (str)"
            )
        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"text {position}, {text!r}, is not valid Unicode: {error.reason}") from error
        if self.lowercase == "ascii":
            # Lower-casing of bytes touches ASCII letters only.
            return encoded.lower().decode()
        if self.lowercase == "unicode":
            # Letter by letter, as transformers does: str.lower() looks around, and ends a word with "ς".
            return Lowercaser().normalize_str(text)
        return text
