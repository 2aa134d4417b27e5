"""An export never replaces the files of another model, nor a model's own weights."""

import pytest
from tests.tiny_model import tiny_checkpoint, write_tiny_model

from siglip2.errors import InvalidInput
from siglip2.export.files import export
from siglip2.weights.load import load_checkpoint, save_checkpoint


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("to", ["onnx", "openvino", "torch-export"])
def test_graphs_are_not_written_over_the_model_that_they_are_made_from(tmp_path, to):
    folder = write_tiny_model(tmp_path)
    before = contents(folder)
    with pytest.raises(InvalidInput, match=r"tiny holds a model of its own \(config\.json\)"):
        export(load_checkpoint(folder), folder, to)
    assert contents(folder) == before


def test_graphs_of_two_models_do_not_mix(tmp_path):
    checkpoint, other = tiny_checkpoint(tmp_path), tiny_checkpoint(tmp_path, seed=1)
    export(checkpoint, tmp_path / "out", "torch-export")
    before = contents(tmp_path / "out")
    for to in ("openvino", "transformers"):
        with pytest.raises(InvalidInput, match=r"out holds graphs of another model \(see its"):
            export(other, tmp_path / "out", to)
    assert contents(tmp_path / "out") == before


def test_weights_of_another_model_stay(tmp_path):
    folder = write_tiny_model(tmp_path)
    before = contents(folder)
    with pytest.raises(InvalidInput, match="tiny holds another model"):
        export(tiny_checkpoint(tmp_path, seed=1), folder, "transformers")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InvalidInput, match="tiny holds another model"):
        export(tiny_checkpoint(tmp_path), folder, "transformers")
    assert set(contents(folder)) == set(before)


def test_one_model_in_several_formats_and_again(tmp_path):
    checkpoint, out = tiny_checkpoint(tmp_path), tmp_path / "out"
    for to in ("torch-export", "transformers", "torch-export"):
        export(checkpoint, out, to)
    assert {"vision.pt2", "text.pt2", "model.safetensors", "siglip2.json"} <= set(contents(out))


@pytest.mark.parametrize("format", ["hf", "big_vision"])
def test_a_model_may_become_a_folder_of_transformers_where_it_lies(tmp_path, format):
    save_checkpoint(tiny_checkpoint(tmp_path), tmp_path / "model", format=format)
    export(load_checkpoint(tmp_path / "model"), tmp_path / "model", "transformers")
    assert "post_processor" in (tmp_path / "model" / "tokenizer.json").read_text()
