"""Exported models in Node: the same token ids, the same pixels and the same vectors as here.

Each test needs Node, and NODE_PATH naming a `node_modules` with `onnxruntime-node` and `sharp`.
"""

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from tests.tiny_model import random_photo

import siglip2
from siglip2.config import Lowercase
from siglip2.inputs.image import ImagePreprocessor
from siglip2.inputs.text import TextPreprocessor
from siglip2.inputs.tokenizer import Tokenizer
from siglip2.prompts import PLAIN, label_prompts

HERE = Path(__file__).parent
CLASSIFY = HERE.parents[1] / "examples" / "node" / "classify.mjs"

TEXTS = [
    "A photo of TWO Dogs.", "ein Hund am Strand", "ÉCOLE à l'été", "海边的两只狗", "こんにちは世界",
    "كلب على الشاطئ", "собака", "🐕‍🦺 and 👩🏽‍🚀", "", "  two   spaces ", "▁under▁", "<eos> <pad>",
    "line\none\ttab", "word " * 90, "Straße İstanbul ΣΑΣ", "ｆｕｌｌ e\u0301",
]  # fmt: skip

LABELS = ["a cat", "The Dog!", "New_York, city", "  AN  apple ", "chien-loup", "ΣΑΣ", "狗", "it's"]


@pytest.fixture(scope="session")
def node() -> str:
    program = shutil.which("node")
    folders = [Path(each) for each in os.environ.get("NODE_PATH", "").split(os.pathsep) if each]
    wanted = ("onnxruntime-node", "sharp")
    if program is None or not all(any((each / name).is_dir() for each in folders) for name in wanted):
        pytest.skip(f"needs Node and NODE_PATH naming a node_modules with {' and '.join(wanted)}")
    return program


def numbers(node: str, **asked: Any) -> dict[str, Any]:
    done = subprocess.run(
        [node, str(HERE / "numbers.mjs")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def save_photos(folder: Path) -> list[str]:
    """PNG files: larger and smaller than the model's input, wide, high, of its very size, with alpha."""
    files = []
    for seed, (height, width) in enumerate([(97, 131), (20, 33), (300, 41), (64, 64), (64, 200), (80, 70)]):
        picture = Image.fromarray(random_photo(seed, height, width))
        if seed == 5:
            picture.putalpha(Image.fromarray(random_photo(9, height, width)[..., 0]))
        files.append(str(folder / f"{seed}.png"))
        picture.save(files[-1])
    return files


def test_nano_from_files_and_texts(node, nano_onnx, tmp_path):
    folder, _ = nano_onnx
    encoder = siglip2.load("nano", precision="float32")
    files = save_photos(tmp_path)
    found = numbers(node, folder=str(folder), pictures=files, texts=TEXTS, size=[64, 64])
    assert found["ids"] == encoder.tokenize(TEXTS).ravel().tolist()
    for ours, file in zip(found["pixels"], files, strict=True):
        picture = Image.open(file)
        if picture.mode == "RGBA":
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        theirs = np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
        # Pillow's two ways to lay alpha over white differ by one, and so does its order of passes before 13.
        close = picture.mode == "RGBA" or int((features.version("pil") or "0").split(".")[0]) < 13
        assert np.abs(np.reshape(ours, (64, 64, 3)) - theirs.astype(int)).max() <= close
    np.testing.assert_allclose(found["images"], encoder.embed_images(files), atol=1e-4)
    np.testing.assert_allclose(found["texts"], encoder.embed_texts(TEXTS), atol=1e-4)


def test_int8_files(node, nano_onnx, tmp_path):
    encoder = siglip2.load("nano", precision="float32")
    files = save_photos(tmp_path)
    found = numbers(node, folder=str(nano_onnx[0]), pictures=files, texts=TEXTS, size=[8, 8], suffix=".int8")
    assert (np.array(found["images"]) * encoder.embed_images(files)).sum(1).min() > 0.999
    assert (np.array(found["texts"]) * encoder.embed_texts(TEXTS)).sum(1).min() > 0.999


def test_real_photos(node, nano_onnx, shared_data):
    """JPEG with orientation, grey and CMYK too; the two JPEG decoders may differ in the last bit."""
    folder, _ = nano_onnx
    names = ["exif_Portrait_8.jpg", "exif_Landscape_6.jpg", "kodak_03.png", "coco_000000000491.jpg"]
    files = [str(shared_data / "photos" / name) for name in names]
    encoder = siglip2.load("nano", precision="float32")
    encoder.image_preprocessor = ImagePreprocessor(encoder.checkpoint.config.vision, scaled_decoding=False)
    found = numbers(node, folder=str(folder), pictures=files, texts=[], size=[8, 8])
    cosines = (np.array(found["images"]) * encoder.embed_images(files)).sum(1)
    assert cosines.min() > 0.9999
    np.testing.assert_allclose(found["images"][2], encoder.embed_images(files[2:3])[0], atol=1e-4)


def test_naflex_with_mixed_grids(node, naflex_onnx, tmp_path):
    encoder, folder = naflex_onnx
    files = save_photos(tmp_path)[:5]
    found = numbers(node, folder=str(folder), pictures=files, texts=["a"], size=[8, 8])
    np.testing.assert_allclose(found["images"], encoder.embed_images(files), atol=1e-4)


def test_prompts(node):
    found = numbers(node, labels=LABELS)
    assert found["prompts"] == [label_prompts(label, [PLAIN])[0] for label in LABELS]


def test_gemma_vocabulary(node, shared_data, tmp_path):
    """The released models' 256,000 pieces, which may cross spaces, with each kind of lower-casing."""
    vocabulary = tmp_path / "tokenizer.json"
    packed = shared_data / "gemma_tokenizer" / "tokenizer.json.gz"
    vocabulary.write_bytes(gzip.decompress(packed.read_bytes()))
    cases: list[Lowercase] = ["ascii", "unicode", "none"]
    facts = [{"context_length": 64, "lowercase": each} for each in cases]
    found = numbers(node, vocabulary=str(vocabulary), texts=TEXTS, facts=facts)
    for ids, lowercase in zip(found["ids"], cases, strict=True):
        ours = TextPreprocessor(Tokenizer.from_file(vocabulary), 64, lowercase)(TEXTS)
        assert ids == ours.ravel().tolist()


def test_command_line(node, nano_onnx, tmp_path):
    folder, _ = nano_onnx
    file = save_photos(tmp_path)[0]
    command = [node, str(CLASSIFY), str(folder), file, "a goldfish", "a dog", "red wine"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = siglip2.ZeroShotClassifier(siglip2.load("nano", precision="float32"), command[-3:]).classify(
        [file]
    )[0]
    assert [row["label"] for row in found] == [each.label for each in expected]
    for row, each in zip(found, expected, strict=True):
        assert row["logit"] == pytest.approx(each.logit, abs=1e-2)
        assert row["probability"] == pytest.approx(each.probability, abs=1e-4)
        assert row["score"] == pytest.approx(each.score, abs=1e-3)
    assert subprocess.run(command[:4], capture_output=True, timeout=60).returncode == 2
