"""Training a small vocabulary in the form of Gemma's: BPE over whole captions with byte fallback."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import BpeTrainer

SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>")
"""Ids 0 to 3, as in Gemma's vocabulary."""

_BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def train_tokenizer(texts: Iterable[str], vocab_size: int, path: Path) -> Tokenizer:
    """Train on texts as given (lower-case them first) and write `tokenizer.json`.

    Spaces become "▁" and there is no dummy prefix. A piece is at most one word with the space before it,
    where Gemma's pieces may cross spaces: a small vocabulary has better uses for its rows. The file is
    read by `siglip2.inputs.text.Tokenizer`, by the `tokenizers` library and by transformers.

    Args:
        texts: the captions to learn from.
        vocab_size: most rows of the vocabulary, the four special tokens and 256 bytes included.
        path: file to write.

    Returns:
        The tokenizer as read back from the file.
    """
    tokenizer = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")  # pyright: ignore[reportAttributeAccessIssue]
    # Cuts before every "▁", so that a piece is at most one word with the space before it.
    tokenizer.pre_tokenizer = Split("▁", "merged_with_next")  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    texts = list(texts)
    counts = Counter(letter for text in texts for letter in text.replace(" ", "▁"))
    # Rare letters, Chinese ones above all, are left to the byte pieces. They are chosen here: the trainer
    # leaves it to chance which of equally rare ones stay.
    letters = sorted(counts, key=lambda letter: (-counts[letter], letter))[: vocab_size // 3]
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[
            *(AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS),
            *(AddedToken(piece, special=False, normalized=False) for piece in _BYTE_PIECES),
        ],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    content = json.loads(tokenizer.to_str())
    # The byte pieces stay in the vocabulary, but their names in a text are not matched as tokens.
    content["added_tokens"] = [each for each in content["added_tokens"] if each["content"] in SPECIAL_TOKENS]
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return Tokenizer.from_file(str(path))
