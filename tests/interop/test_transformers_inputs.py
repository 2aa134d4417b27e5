"""A folder of `siglip2 export --to transformers`, used by people who do not have this package."""

import dataclasses
import gzip
import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny_model import random_photo
from transformers import AutoProcessor, AutoTokenizer, pipeline

import siglip2
import siglip2.interop.transformers
from siglip2.export.files import export
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.vocabulary import complete_vocabulary

TEXTS = [
    "A photo of TWO Dogs.", "ein Hund am Strand", "ÉCOLE à l'été", "海边的两只狗", "こんにちは世界",
    "كلب على الشاطئ", "собака", "🐕‍🦺 and 👩🏽‍🚀", "", "  two   spaces ", "▁under▁", "line\none\ttab",
    "word " * 90, "Straße İstanbul ΣΑΣ", "ｆｕｌｌ e\u0301",
]  # fmt: skip


def nano_with(folder, *, context_length=64, lowercase="ascii"):
    """`nano` with another context length: `transformers`' pipelines pad all SigLIP models to 64 tokens."""
    nano = siglip2.load("nano").checkpoint
    text = dataclasses.replace(nano.config.text, context_length=context_length)
    tensors = {name: np.array(nano.read(name), np.float32) for name in nano.tensors}
    positions = "text_model.embeddings.position_embedding.weight"
    tensors[positions] = np.resize(tensors[positions], (context_length, text.width))
    preprocessing = dataclasses.replace(nano.preprocessing, lowercase=lowercase)
    config = dataclasses.replace(nano.config, text=text)
    made = Checkpoint.from_tensors(config, tensors, tokenizer=nano.tokenizer)
    export(dataclasses.replace(made, preprocessing=preprocessing), folder, "transformers")
    return siglip2.load(str(folder), precision="float32")


@pytest.mark.parametrize("lowercase", ["ascii", "unicode", "none"])
def test_token_ids(tmp_path, lowercase):
    encoder = nano_with(tmp_path, lowercase=lowercase)
    assert encoder.lowercase == lowercase
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    found = tokenizer(TEXTS, padding="max_length", truncation=True)
    assert set(found) == {"input_ids"}
    assert found["input_ids"] == encoder.tokenize(TEXTS).tolist()


def test_processor_gives_our_pixels_and_ids(tmp_path):
    encoder = nano_with(tmp_path)
    photo = Image.fromarray(random_photo(1, 70, 90))
    processor = AutoProcessor.from_pretrained(tmp_path)
    found = processor(images=[photo], text=["A dog"], padding="max_length", return_tensors="pt")
    assert found["input_ids"].tolist() == encoder.tokenize(["A dog"]).tolist()
    model = siglip2.interop.transformers.SiglipVisionTower.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        pooled = model(found["pixel_values"]).pooler_output.numpy()
    pooled /= np.linalg.norm(pooled)
    np.testing.assert_allclose(pooled, encoder.embed_images([photo]), atol=1e-4)


def test_zero_shot_pipeline(tmp_path):
    encoder = nano_with(tmp_path)
    photo = Image.fromarray(random_photo(1, 70, 90))
    labels = ["a Goldfish", "a bus", "two dogs"]
    classify = pipeline("zero-shot-image-classification", model=str(tmp_path), dtype=torch.float32)
    found = classify(photo, candidate_labels=labels, hypothesis_template="this is {}")
    ours = siglip2.ZeroShotClassifier(
        encoder, labels, prompts={label: f"this is {label}" for label in labels}, canonicalize=False
    )
    (expected,) = ours.classify([photo])
    assert [row["label"] for row in found] == [each.label for each in expected]
    for row, each in zip(found, expected, strict=True):
        assert row["score"] == pytest.approx(each.probability, rel=1e-3)


def test_a_vocabulary_that_is_complete_stays_as_it_is(tmp_path, shared_data):
    checkpoint = siglip2.load("nano").checkpoint
    assert not complete_vocabulary(checkpoint, tmp_path)
    content = json.loads(
        gzip.decompress((shared_data / "gemma_tokenizer" / "tokenizer.json.gz").read_bytes())
    )
    content["post_processor"] = {"type": "ByteLevel"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    before = (tmp_path / "tokenizer.json").stat()
    assert not complete_vocabulary(checkpoint, tmp_path)
    assert (tmp_path / "tokenizer.json").stat().st_mtime_ns == before.st_mtime_ns
