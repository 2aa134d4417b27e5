"""Token ids: the form that the models were trained on, with a small vocabulary of our own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library

from siglip2.errors import InvalidCheckpoint, InvalidInput
from siglip2.inputs.text import TextPreprocessor
from siglip2.inputs.tokenizer import Tokenizer
from siglip2.inputs.tokenizer_training import train_tokenizer

TEXTS = ["a photo of a cat", "two dogs in the snow", "un chat noir", "高い山", "a table < eos > <eos> unk"]
RESERVED = ("<eos>", "<pad>", "<bos>", "<unk>", "<table>", "<start_of_turn>")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    library = train_tokenizer(TEXTS * 5, 400, path)
    # As the hub's file: more names matched inside of a text, and a post-processor that adds <bos>.
    from tokenizers.processors import TemplateProcessing

    library.add_tokens(["<table>", "<start_of_turn>"])
    library.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    library.enable_truncation(5)
    library.enable_padding(length=9)
    library.save(str(path))
    assert library.encode("<eos> <table>").ids[:2] == [2, 1]
    return path


@pytest.fixture(scope="module")
def preprocess(vocabulary: Path) -> TextPreprocessor:
    return TextPreprocessor(Tokenizer.from_file(vocabulary), context_length=16)


def test_one_end_token_then_padding(preprocess: TextPreprocessor) -> None:
    ids = preprocess(["a cat", ""])
    assert ids.shape == (2, 16)
    assert ids.dtype == np.int32
    length = len(preprocess.tokenizer.encode(["a cat"])[0])
    assert 0 < length < 10
    assert ids[0, length] == 1
    assert not ids[0, length + 1 :].any()
    assert (ids[0, :length] > 3).all()
    assert ids[1].tolist() == [1] + [0] * 15


def test_long_texts_end_with_the_end_token(preprocess: TextPreprocessor) -> None:
    (pieces,) = preprocess.tokenizer.encode(["a photo of a cat " * 20])
    assert len(pieces) > 16
    (ids,) = preprocess(["a photo of a cat " * 20])
    assert ids.tolist() == [*pieces[:15], 1]


def test_a_text_of_exactly_the_length_is_not_cut(preprocess: TextPreprocessor) -> None:
    (pieces,) = preprocess.tokenizer.encode(["qqqqqqqqqqqqqqq"])
    assert len(pieces) == 15
    assert preprocess(["qqqqqqqqqqqqqqq"])[0].tolist() == [*pieces, 1]


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_names_are_text(preprocess: TextPreprocessor, vocabulary: Path, name: str) -> None:
    library = Library.from_file(str(vocabulary))
    for text in (name, f"a {name} cat", name.upper(), f"{name}{name}"):
        (pieces,) = preprocess.tokenizer.encode([text.lower()])
        assert min(pieces) > 3
        assert max(pieces) < preprocess.tokenizer.vocab_size - 2, "an added token"
        assert library.decode(pieces, skip_special_tokens=False) == text.lower()
        ids = preprocess([text])[0]
        assert (ids == 1).sum() == 1


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_gives_one_end_token(preprocess: TextPreprocessor, text: str) -> None:
    (ids,) = preprocess([text])
    end = ids.tolist().index(1)
    assert (ids == 1).sum() == 1
    assert not ids[end + 1 :].any()
    assert (ids[:end] > 3).all()


def test_lower_casing(vocabulary: Path) -> None:
    tokenizer = Tokenizer.from_file(vocabulary)
    kinds = {kind: TextPreprocessor(tokenizer, 16, kind) for kind in ("ascii", "unicode", "none")}
    same = {
        kind: {
            pair: np.array_equal(*preprocess(list(pair)))
            for pair in (("A CAT", "a cat"), ("É", "é"), ("É", "E\u0301"))
        }
        for kind, preprocess in kinds.items()
    }
    assert list(same["ascii"].values()) == [True, False, False]
    assert list(same["unicode"].values()) == [True, True, False]
    assert list(same["none"].values()) == [False, False, False]


def test_no_texts(preprocess: TextPreprocessor) -> None:
    assert preprocess([]).shape == (0, 16)
    assert preprocess(iter(["a", "b"])).shape == (2, 16)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a cat", "single string 'a cat'"),
        (["a", None], "text 1 is None of type NoneType"),
        ([3.5], "text 0 is 3.5 of type float"),
        ([b"cat"], "text 0 is b'cat' of type bytes"),
        (["ok", "\ud800"], "text 1.*not valid Unicode"),
    ],
)
def test_what_is_no_text(preprocess: TextPreprocessor, texts, message: str) -> None:
    # An iterator, which the types that tests check do not look into.
    with pytest.raises(InvalidInput, match=message):
        preprocess(texts if isinstance(texts, str) else iter(texts))


def test_threads_agree(preprocess: TextPreprocessor) -> None:
    batches = [[f"{text} {number}" for text in TEXTS] for number in range(40)]
    expected = [preprocess(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(preprocess, batches))
    np.testing.assert_array_equal(found, expected)


def test_fingerprint(vocabulary: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(vocabulary)
    train_tokenizer(TEXTS, 300, tmp_path / "tokenizer.json")
    other = Tokenizer.from_file(tmp_path / "tokenizer.json")
    prints = [
        TextPreprocessor(tokenizer, 16).fingerprint,
        TextPreprocessor(tokenizer, 17).fingerprint,
        TextPreprocessor(tokenizer, 16, "none").fingerprint,
        TextPreprocessor(other, 16).fingerprint,
    ]
    assert len(set(prints)) == 4
    assert TextPreprocessor(Tokenizer.from_file(vocabulary), 16).fingerprint == prints[0]


def test_files_that_are_no_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match="there is no tokenizer file"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidCheckpoint, match=r"not a tokenizer\.json"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    from tokenizers.models import BPE

    Library(BPE({"a": 0, "<pad>": 1}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InvalidCheckpoint, match="has no token <eos>"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")


def test_trained_vocabulary_works_in_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers to compare with")
    train_tokenizer(TEXTS * 5, 400, tmp_path / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.from_file(tmp_path / "tokenizer.json")
    texts = [text for text in TEXTS if "<" not in text]
    assert theirs(texts, add_special_tokens=False)["input_ids"] == ours.encode(texts)
    assert ours.vocab_size <= 400
    assert (ours.pad_id, ours.eos_id) == (0, 1)


def test_training_keeps_ids_and_bytes(tmp_path: Path) -> None:
    library = train_tokenizer(TEXTS, 300, tmp_path / "tokenizer.json")
    assert [library.id_to_token(number) for number in range(5)] == [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<0x00>",
    ]
    for text in ("  two  spaces", "new\nline\ttab", "🐱 ж", "<0x41>"):
        pieces = library.encode(text, add_special_tokens=False)
        assert library.decode(pieces.ids) == text
        assert 3 not in pieces.ids


def test_sentencepiece(tmp_path: Path) -> None:
    library = pytest.importorskip("sentencepiece", reason="needs the sentencepiece extra")
    with (tmp_path / "tokenizer.model").open("wb") as file:
        library.SentencePieceTrainer.Train(
            sentence_iterator=iter(TEXTS * 20),
            model_writer=file,
            model_type="bpe",
            vocab_size=340,
            byte_fallback=True,
            add_dummy_prefix=False,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            pad_id=0,
            eos_id=1,
            bos_id=2,
            unk_id=3,
            pad_piece="<pad>",
            eos_piece="<eos>",
            bos_piece="<bos>",
            unk_piece="<unk>",
            user_defined_symbols=["<table>", "<start_of_turn>", "\n\n"],
            hard_vocab_limit=False,
            minloglevel=2,
        )
    plain = library.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    tokenizer = Tokenizer.from_file(tmp_path / "tokenizer.model")
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.vocab_size) == (0, 1, plain.GetPieceSize())
    texts = [*TEXTS, "  a  cat", "🐱"]
    assert tokenizer.encode(texts) == [plain.Encode(text) for text in texts]
    table = plain.PieceToId("<table>")
    assert table in plain.Encode("a <table>")
    for name in RESERVED:
        (pieces,) = tokenizer.encode([f"a {name}"])
        assert min(pieces) > 3
        assert plain.PieceToId(name) not in pieces or plain.PieceToId(name) == 3
        assert plain.Decode(pieces) == f"a {name}"
    preprocess = TextPreprocessor(tokenizer, 8)
    assert preprocess(["A cat"]).tolist() == preprocess(["a cat"]).tolist()


def test_damaged_sentencepiece(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece", reason="needs the sentencepiece extra")
    for content in (b"", b"text that is no model", b"\xff" * 40):
        (tmp_path / "tokenizer.model").write_bytes(content)
        with pytest.raises(InvalidCheckpoint, match=r"tokenizer\.model"):
            Tokenizer.from_file(tmp_path / "tokenizer.model")
