"""Token ids with the real Gemma vocabulary, against published numbers and against transformers."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from siglip2.inputs.text import TextPreprocessor
from siglip2.inputs.tokenizer import Tokenizer

# Ids of lower-cased texts, without the end token.
GOLDEN = {
    "a photo of a cat": [235250, 2686, 576, 476, 4401],
    "A Photo of a CAT": [235250, 2686, 576, 476, 4401],
    "an apple": [481, 15491],
    "a photo of 2 cats": [235250, 2686, 576, 235248, 235284, 19493],
    "Hello World.": [17534, 2134, 235265],
    ".": [235265],
    "": [],
}
# One language for each script, and several for the larger ones.
LANGUAGES = (
    *("en", "de", "fr", "es", "vi", "tr", "sw", "pl", "is", "yo"),  # Latin
    *("ru", "uk", "sr", "mn", "el", "hy", "ka", "he", "ar", "fa", "ur", "am", "hi", "bn", "pa", "gu", "or"),
    *("ta", "te", "kn", "ml", "si", "th", "lo", "my", "km", "ko", "ja", "zh", "zh-Hant", "chr"),
)


@pytest.fixture(scope="module")
def vocabulary(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gemma") / "tokenizer.json"
    with gzip.open(shared_data / "gemma_tokenizer" / "tokenizer.json.gz") as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return path


@pytest.fixture(scope="module")
def tokenizer(vocabulary: Path) -> Tokenizer:
    return Tokenizer.from_file(vocabulary)


@pytest.fixture(scope="module")
def many_languages(shared_data: Path) -> dict[str, list[str]]:
    """Names of emoji, as they are and with capitals, one text with all scripts' digits and signs."""
    with gzip.open(shared_data / "emoji" / "emoji_names.json.gz", "rt", encoding="utf-8") as file:
        content = json.load(file)
    texts = {}
    for language in LANGUAGES:
        names = [name for name in content["names"][language] if name][:150:3]
        texts[language] = [*names, *(name.upper() for name in names[:10]), ", ".join(names[:20])]
    return texts


def padded(pieces: list[int]) -> list[int]:
    kept = [*pieces[:63], 1]
    return kept + [0] * (64 - len(kept))


def test_golden_ids(tokenizer: Tokenizer) -> None:
    preprocess = TextPreprocessor(tokenizer)
    assert preprocess(list(GOLDEN)).tolist() == [padded(pieces) for pieces in GOLDEN.values()]
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.vocab_size) == (0, 1, 256_000)


def test_published_vectors(tokenizer: Tokenizer, shared_data: Path) -> None:
    vectors = json.loads((shared_data / "gemma_tokenizer" / "gemma_tokenizer_vectors.json").read_text())
    cases = vectors["cases"] + vectors["cases_hf_with_bos"]
    assert len(cases) == 15
    for case in cases:
        # Ours never adds a beginning or, at this level, an end.
        expected = [piece for piece in case["ids"] if piece not in (1, 2)]
        assert tokenizer.encode([case["text"]]) == [expected], case["text"]


def test_reserved_names_are_text(tokenizer: Tokenizer) -> None:
    names = ["<eos>", "<bos>", "<pad>", "<unk>", "<mask>", "<table>", "</h1>", "<start_of_turn>", "<unused7>"]
    for name, pieces in zip(names, tokenizer.encode(names), strict=True):
        assert len(pieces) > 1, name
        assert not {0, 1, 2, 3, 4} & set(pieces), name


@pytest.mark.slow
def test_added_tokens_change_only_their_own_names(
    vocabulary: Path, tokenizer: Tokenizer, many_languages: dict[str, list[str]], tmp_path: Path
) -> None:
    """The hub's file has hundreds of added tokens; runs of newlines and spaces are among them."""
    content = json.loads(vocabulary.read_text(encoding="utf-8"))
    runs = [sign * count for sign in ("\n", "▁") for count in range(2, 31)]
    for name in ["<table>", "<start_of_turn>", *runs]:
        content["added_tokens"].append(
            content["added_tokens"][0] | {"id": content["model"]["vocab"].get(name, 5), "content": name}
        )
    content["added_tokens"].sort(key=lambda token: token["id"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    hub = Tokenizer.from_file(tmp_path / "tokenizer.json")
    texts = ["a\n\n\nb", "two  spaces", "   three", "\n" * 30, "<table>", "<start_of_turn>user"]
    texts += [texts[0] for texts in many_languages.values()]
    assert hub.encode(texts) == tokenizer.encode(texts)


@pytest.fixture(scope="module")
def theirs(vocabulary: Path):
    """What `AutoTokenizer` gives for a folder like the hub's, by model type."""
    transformers = pytest.importorskip("transformers", reason="needs transformers to compare with")
    loaded = {}
    for model_type in ("siglip", "siglip2"):
        folder = vocabulary.parent / model_type
        folder.mkdir()
        shutil.copy(vocabulary, folder)
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        settings = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right", "add_bos_token": False}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        loaded[model_type] = transformers.AutoTokenizer.from_pretrained(folder)
    return loaded


def their_pieces(tokenizer, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_against_transformers(
    language: str, tokenizer: Tokenizer, many_languages: dict[str, list[str]], theirs
) -> None:
    """Where transformers lower-cases, it does so in all scripts: our option `unicode`."""
    texts = many_languages[language]
    assert len(texts) > 30
    assert type(theirs["siglip2"]).__name__ == "Siglip2Tokenizer"
    expected = [padded(pieces) for pieces in their_pieces(theirs["siglip2"], texts)]
    assert TextPreprocessor(tokenizer, lowercase="unicode")(texts).tolist() == expected
    # As the models were trained: only ASCII letters.
    ascii_lowered = ["".join(c.lower() if c.isascii() else c for c in text) for text in texts]
    expected = [padded(pieces) for pieces in their_pieces(theirs["siglip"], ascii_lowered)]
    assert TextPreprocessor(tokenizer)(texts).tolist() == expected


def test_captions_in_two_hundred_languages(tokenizer: Tokenizer, theirs, shared_data: Path) -> None:
    path = shared_data / "multilingual" / "flickr30k200_nllb_on_flickr8k.json.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        captions = json.load(file)["captions"]
    assert len(captions) > 190
    texts = [texts[number] for number, texts in enumerate(captions.values()) if isinstance(texts, list)]
    assert len(texts) > 190
    ascii_lowered = ["".join(c.lower() if c.isascii() else c for c in text) for text in texts]
    expected = [padded(pieces) for pieces in their_pieces(theirs["siglip"], ascii_lowered)]
    assert TextPreprocessor(tokenizer)(texts).tolist() == expected


def test_the_class_of_the_fixed_checkpoints_does_not_lower_case(tokenizer: Tokenizer, theirs) -> None:
    """Fifteen of the seventeen released models: ours is right where transformers is not."""
    pair = ["A Photo of a CAT", "a photo of a cat"]
    fixed = their_pieces(theirs["siglip"], pair)
    assert type(theirs["siglip"]).__name__ == "GemmaTokenizer"
    assert fixed[0] != fixed[1], "transformers lower-cases now: say so in the documentation"
    naflex = their_pieces(theirs["siglip2"], pair)
    assert naflex[0] == naflex[1]
    ours = TextPreprocessor(tokenizer)(pair).tolist()
    assert ours[0] == ours[1] == padded(GOLDEN["a photo of a cat"])
