"""The convert command."""

from pathlib import Path

import pytest
from random_models import NAFLEX, assert_same_tensors, random_checkpoint

from siglip2.cli.convert import convert
from siglip2.errors import InvalidInput
from siglip2.inputs.tokenizer_training import train_tokenizer
from siglip2.weights.load import load_checkpoint, save_checkpoint


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = random_checkpoint(NAFLEX)
    save_checkpoint(checkpoint, tmp_path / "a")
    convert(str(tmp_path / "a"), tmp_path / "b", to="big_vision")
    assert "no vocabulary" in capsys.readouterr().out
    train_tokenizer(["a cat"], 300, tmp_path / "b" / "tokenizer.json")
    convert(str(tmp_path / "b" / "model.npz"), tmp_path / "c")
    assert f"{NAFLEX.num_parameters:,} parameters" in capsys.readouterr().out
    back = load_checkpoint(tmp_path / "c")
    assert_same_tensors(back, checkpoint)
    assert back.config == NAFLEX
    assert back.tokenizer == tmp_path / "c" / "tokenizer.json"


def test_precision(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(NAFLEX)
    save_checkpoint(checkpoint, tmp_path / "a")
    convert(str(tmp_path / "a"), tmp_path / "b", dtype="bfloat16")
    assert_same_tensors(load_checkpoint(tmp_path / "b"), checkpoint.cast("bfloat16"))
    assert load_checkpoint(tmp_path / "b").dtype == "bfloat16"


@pytest.mark.parametrize("to", ["transformers", "big_vision"])
def test_a_model_that_lies_there_is_not_written_over_unasked(tmp_path: Path, to) -> None:
    checkpoint = random_checkpoint(NAFLEX)
    save_checkpoint(checkpoint, tmp_path / "a")
    convert(str(tmp_path / "a"), tmp_path / "b", to=to)
    before = {path: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    with pytest.raises(InvalidInput, match=r"holds a model already \(model\..*--replace"):
        convert(str(tmp_path / "a"), tmp_path / "b", dtype="bfloat16")
    assert before == {path: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    convert(str(tmp_path / "a"), tmp_path / "b", to=to, dtype="bfloat16", replace=True)
    assert load_checkpoint(tmp_path / "b").dtype == "bfloat16"
