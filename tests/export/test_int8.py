"""8-bit weights: nearly the same vectors, and the same answers on photographs."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

import siglip2
from siglip2.errors import InvalidInput
from siglip2.export import files
from siglip2.export.files import INT8_COSINE, ExportFailed, export
from siglip2.prompts import PLAIN, label_prompts

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from tests.tiny_model import tiny_checkpoint  # noqa: E402

from siglip2.export import int8  # noqa: E402
from siglip2.export.int8 import quantise, write_int8  # noqa: E402

PHOTOS = 1000


def embed(path, inputs, batch=50):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    output = session.get_outputs()[0].name
    parts = [inputs[start : start + batch] for start in range(0, len(inputs), batch)]
    return np.concatenate([session.run([output], {name: part})[0] for part in parts])


def test_each_channel_has_its_own_scale():
    values = np.array([[1.0, -127.0, 0.0], [0.5, 63.5, 0.0]], np.float32)
    packed, scales = quantise(values, 1)
    assert packed.tolist() == [[127, -127, 0], [64, 64, 0]]
    assert np.abs(packed * scales - values).max() <= scales.max() / 2
    packed, scales = quantise(values, 0)
    assert scales.ravel().tolist() == pytest.approx([1, 0.5])


def test_zero_shot_accuracy_is_that_of_float(nano_onnx, shared_data):
    """Tiny ImageNet: the required cosine on each of 1,000 photographs, and accuracy within one point."""
    folder, printed = nano_onnx
    assert min(printed[-1]["int8_cosines"].values()) > INT8_COSINE
    data = shared_data / "tiny_imagenet"
    side = siglip2.load("nano").checkpoint.config.vision.image_size
    assert side is not None
    pixels, labels = [], {}
    with tarfile.open(data / "val-00000.tar.gz", "r|*") as archive:
        for member in archive:
            key, suffix = member.name.split(".", 1)
            opened = archive.extractfile(member)
            assert opened is not None
            content = opened.read()
            if suffix == "json":
                labels[key] = json.loads(content)["label"]
            else:
                picture = Image.open(io.BytesIO(content)).convert("RGB")
                pixels.append((key, np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))))
            if len(pixels) >= PHOTOS and len(labels) >= PHOTOS:
                break
    truth = np.array([labels[key] for key, _ in pixels])
    images = np.stack([each for _, each in pixels]).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    names = [row["clip_name"] for row in json.loads((data / "classes.json").read_text())]
    prompts = [label_prompts(name, [PLAIN])[0] for name in names]
    ids = siglip2.load("nano").tokenize(prompts).astype(np.int64)
    vectors = {
        suffix: (embed(folder / f"vision{suffix}.onnx", images), embed(folder / f"text{suffix}.onnx", ids))
        for suffix in ("", ".int8")
    }
    accuracy = {
        suffix: float(((image @ text.T).argmax(1) == truth).mean())
        for suffix, (image, text) in vectors.items()
    }
    assert accuracy[""] > 0.2
    assert accuracy[".int8"] == pytest.approx(accuracy[""], abs=0.01)
    for whole, small in zip(vectors[""], vectors[".int8"], strict=True):
        assert (whole * small).sum(1).min() > INT8_COSINE


def test_rows_of_a_table_are_picked_before_they_are_unpacked(nano_onnx):
    graph = onnx.load(nano_onnx[0] / "text.int8.onnx").graph
    tables = {each.name: each for each in graph.initializer if each.dims[:1] == [12000]}
    assert sorted(each.data_type for each in tables.values()) == [
        onnx.TensorProto.FLOAT, onnx.TensorProto.INT8
    ]  # fmt: skip
    for name in tables:
        assert [node.op_type for node in graph.node if name in node.input] == ["Gather"]
    assert max(np.prod(each.dims) for each in graph.initializer if each.data_type == 1) <= 12000


def test_a_file_too_far_from_the_source_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "INT8_COSINE", 1.1)
    with pytest.raises(ExportFailed, match=r"vision\.int8\.onnx has a cosine of 0\.99\d+ to the source"):
        export(tiny_checkpoint(tmp_path), tmp_path / "out", "onnx", int8=True)


def test_weights_too_large_for_one_file_lie_beside_it(tmp_path, monkeypatch):
    """The two largest text towers and the giant image tower have more than ONNX's 2 GiB."""
    monkeypatch.setattr(files, "MOST_INLINE", 0)
    monkeypatch.setattr(int8, "SMALLEST", 100)
    monkeypatch.setattr(files, "INT8_COSINE", 0.99)  # of 32 numbers, rounding errors average out less
    written = export(tiny_checkpoint(tmp_path), tmp_path / "out", "onnx", int8=True).files
    assert [each.name for each in written] == [
        "vision.onnx", "vision.onnx.data", "vision.int8.onnx", "text.onnx", "text.onnx.data", "text.int8.onnx"
    ]  # fmt: skip
    for tower in ("vision", "text"):
        (tmp_path / "out" / f"{tower}.onnx.data").unlink()
        session = onnxruntime.InferenceSession(str(tmp_path / "out" / f"{tower}.int8.onnx"))
        assert len(session.get_inputs()) == 1


def test_nothing_to_quantise(tmp_path):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "g", ports[:1], ports[1:])), tmp_path / "a"
    )
    with pytest.raises(InvalidInput, match="holds no weights"):
        write_int8(tmp_path / "a", tmp_path / "b")
