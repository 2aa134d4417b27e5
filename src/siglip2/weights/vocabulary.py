"""A vocabulary that `transformers` reads as we do: lower-cased, ended with `<eos>`, without a mask.

The published files say so themselves, and stay as they are. Vocabularies trained here hold only pieces,
because `siglip2.inputs.text` does the rest.
"""

import string
from pathlib import Path
from typing import Any

from siglip2.config import Lowercase
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.json_file import read_json, write_json

_END = "<eos>"


def complete_vocabulary(checkpoint: Checkpoint, folder: Path) -> bool:
    """Make `AutoTokenizer` of a saved folder give the token ids that the model was trained on.

    It does so with `padding="max_length"` and `truncation=True`. Unlike here, names of reserved tokens in a
    text (`<eos>`) are those tokens to `transformers`.

    Args:
        checkpoint: what was saved.
        folder: where, with its `tokenizer.json`.

    Returns:
        Whether the files were changed: not if they already say how a text ends, or if there are none.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        return False
    content = read_json(path)
    if content.get("post_processor") is not None:
        return False
    end = next((each["id"] for each in content["added_tokens"] if each["content"] == _END), None)
    end = content["model"]["vocab"][_END] if end is None else end
    first = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": _END, "type_id": 0}}]
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [*first, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {_END: {"id": _END, "ids": [end], "tokens": [_END]}},
    }
    given = content.get("normalizer")
    steps = _lowering(checkpoint.preprocessing.lowercase) + ([given] if given else [])
    content["normalizer"] = {"type": "Sequence", "normalizers": steps}
    write_json(path, content)
    settings = folder / "tokenizer_config.json"
    # The classes named after models put their own steps in the place of these.
    ours = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids"],
        "model_max_length": checkpoint.config.text.context_length,
    }
    write_json(settings, read_json(settings) | ours)
    return True


def _lowering(lowercase: Lowercase) -> list[dict[str, Any]]:
    """Steps of the `tokenizers` library; of its own it only knows to lower-case all of Unicode."""
    if lowercase == "unicode":
        return [{"type": "Lowercase"}]
    if lowercase == "none":
        return []
    pairs = zip(string.ascii_uppercase, string.ascii_lowercase, strict=True)
    return [{"type": "Replace", "pattern": {"String": upper}, "content": lower} for upper, lower in pairs]
