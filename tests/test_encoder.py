"""Embedding, streaming, broken images, threads; on a tiny model of random weights."""

import io
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import siglip2
from siglip2.encoder import Encoder
from siglip2.errors import InvalidImage, InvalidInput, ModelNotFound
from siglip2.heatmap import draw_heatmap, project_patches, similarity_map
from siglip2.inputs.batch import ImageBatch
from siglip2.runtime.base import ImageFeatures
from siglip2.similarity import sigmoid
from tiny_model import random_photo, tiny_checkpoint, tiny_encoder, write_tiny_model


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("fixed"))


@pytest.fixture(scope="module")
def naflex(tmp_path_factory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("naflex"), naflex=True)


PHOTOS = [random_photo(seed) for seed in range(7)]


def png(photo: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file.getvalue()


def test_embeddings_are_unit_float32_in_order_of_the_input(encoder):
    embeddings = encoder.embed_images(PHOTOS)
    assert embeddings.shape == (7, encoder.embed_dim)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder.embed_images([photo]) for photo in PHOTOS])
    np.testing.assert_allclose(embeddings, alone, atol=1e-5)
    # The photos differ clearly, so the order is tested and not only the values.
    assert np.abs(embeddings @ embeddings.T - np.eye(7)).max() < 0.999


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 50])
def test_batch_size_changes_nothing(encoder, batch_size):
    few = encoder.embed_images(PHOTOS, batch_size=batch_size)
    np.testing.assert_allclose(few, encoder.embed_images(PHOTOS), atol=1e-5)
    texts = ["a cat", "the moon", "two dogs"]
    sized = encoder.embed_texts(texts, batch_size=batch_size)
    np.testing.assert_allclose(sized, encoder.embed_texts(texts), atol=1e-5)


def test_all_kinds_of_sources_agree(encoder, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(png(PHOTOS[0]))
    sources = [PHOTOS[0], Image.fromarray(PHOTOS[0]), path, str(path), path.read_bytes()]
    embeddings = encoder.embed_images(sources)
    np.testing.assert_allclose(embeddings, np.tile(embeddings[0], (5, 1)), atol=1e-5)


def test_no_inputs_give_no_rows(encoder):
    assert encoder.embed_images([]).shape == (0, encoder.embed_dim)
    assert encoder.embed_texts([]).shape == (0, encoder.embed_dim)
    assert encoder.score([], []).logit.shape == (0, 0)
    assert encoder.patch_features([]) == []


def test_iterators_are_read_a_bounded_number_ahead(encoder):
    read = 0

    def photos():
        nonlocal read
        for seed in range(400):
            read += 1
            yield PHOTOS[seed % 7]

    stream = encoder.stream_images(photos(), batch_size=4)
    first = next(stream)
    assert first.indices.tolist() == [0, 1, 2, 3]
    assert read < 60
    stream.close()
    assert read < 60
    assert len(encoder.embed_texts(text for text in ["a", "b"])) == 2


def test_one_input_instead_of_several_is_refused(encoder, tmp_path):
    file = png(PHOTOS[0])
    (tmp_path / "photo.png").write_bytes(file)
    picture = Image.new("RGB", (4, 4))
    in_memory = (file, bytearray(file), memoryview(file), io.BytesIO(file), PHOTOS[0], picture)
    with (tmp_path / "photo.png").open("rb") as opened:
        for single in ("photo.png", tmp_path / "photo.png", opened, *in_memory):
            with pytest.raises(InvalidInput, match="put it in a list"):
                encoder.embed_images(single)
    with pytest.raises(InvalidInput, match="put it in a list"):
        encoder.embed_texts("a cat")
    with pytest.raises(InvalidInput, match="at least 1"):
        encoder.embed_images(PHOTOS, batch_size=0)
    assert encoder.embed_images(np.stack(PHOTOS)).shape == (7, encoder.embed_dim)


def test_a_broken_image_is_named_by_path_or_position(encoder, tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"nonsense")
    with pytest.raises(InvalidImage, match=r"broken\.jpg"):
        encoder.embed_images([PHOTOS[0], path])
    with pytest.raises(InvalidImage, match="image 1"):
        encoder.embed_images([PHOTOS[0], b"nonsense"])
    with pytest.raises(InvalidImage, match="nowhere"):
        encoder.patch_features(["nowhere.jpg"])


def test_broken_images_can_be_skipped(encoder):
    mixed = [b"x", PHOTOS[0], PHOTOS[1], b"", PHOTOS[2], "nowhere.png"]
    embeddings, broken = encoder.embed_images(mixed, on_error="skip", batch_size=2)
    np.testing.assert_allclose(embeddings, encoder.embed_images(PHOTOS[:3]), atol=1e-5)
    assert [each.index for each in broken] == [0, 3, 5]
    assert broken[-1].name == "nowhere.png"
    parts = list(encoder.stream_images(mixed, batch_size=2))
    assert np.concatenate([part.indices for part in parts]).tolist() == [1, 2, 4]
    only_broken, broken = encoder.embed_images([b"x"], on_error="skip")
    assert only_broken.shape == (0, encoder.embed_dim)
    assert len(broken) == 1


def test_a_panorama_spoils_no_other_image(naflex):
    panorama = np.zeros((8, 800, 3), np.uint8)
    options = {"max_num_patches": 256}
    embeddings, broken = naflex.embed_images([PHOTOS[0], panorama, PHOTOS[1]], on_error="skip", **options)
    np.testing.assert_allclose(embeddings, naflex.embed_images(PHOTOS[:2], **options), atol=1e-5)
    assert [each.index for each in broken] == [1]
    assert "crop it, or set max_num_patches to 40 or less" in broken[0].reason


def test_words_that_mean_nothing_are_refused(encoder):
    with pytest.raises(InvalidInput, match="on_error is 'ignore'; it must be 'raise' or 'skip'"):
        encoder.embed_images([b"x", PHOTOS[0]], on_error="ignore")
    with pytest.raises(InvalidInput, match="lowercase is 'ASCII'; there are ascii, unicode, none"):
        Encoder(encoder.checkpoint, encoder.runtime, lowercase="ASCII")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInput, match="unknown image preset 'bicubic'"):
        Encoder(encoder.checkpoint, encoder.runtime, image_preset="bicubic")  # pyright: ignore[reportArgumentType]


def test_errors_of_the_callers_iterator_come_through(encoder):
    def photos():
        yield PHOTOS[0]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        encoder.embed_images(photos())


def test_texts_are_taken_as_they_stand_but_for_ascii_case(encoder):
    upper, lower, other = encoder.embed_texts(["A Cat", "a cat", "a cat."])
    np.testing.assert_allclose(upper, lower, atol=1e-6)
    assert upper @ other < 0.9999


def test_scores_are_logits_and_their_sigmoid(encoder):
    texts = ["a cat", "a dog", "the moon"]
    scores = encoder.score(PHOTOS, texts)
    cosine = encoder.embed_images(PHOTOS) @ encoder.embed_texts(texts).T
    np.testing.assert_allclose(scores.logit, 10 * cosine - 3, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores.probability, 1 / (1 + np.exp(-scores.logit)), rtol=1e-5)
    assert encoder.logit_scale == pytest.approx(10)
    assert encoder.logit_bias == -3


def test_sigmoid_keeps_small_probabilities_and_does_not_overflow():
    values = sigmoid(np.array([-1000, -20, 0, 1000], np.float32))
    np.testing.assert_allclose(values, [0, 2.0611537e-09, 0.5, 1], rtol=1e-5)


def test_threads_get_the_same_answers(encoder):
    expected = [encoder.embed_images([photo]) for photo in PHOTOS]
    start = threading.Barrier(4)

    def work(_):
        start.wait()
        return [encoder.embed_images([photo]) for photo in PHOTOS]

    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(work, range(4)):
            np.testing.assert_allclose(np.concatenate(result), np.concatenate(expected), atol=1e-5)


def test_patch_features_have_the_shape_of_the_grid(encoder, naflex):
    [fixed] = encoder.patch_features([PHOTOS[0]])
    assert fixed.grid == (4, 4)
    assert fixed.features.shape == (4, 4, 32)
    wide, tall = naflex.patch_features([random_photo(0, 16, 64), random_photo(1, 64, 16)])
    assert wide.grid == (2, 8)
    assert tall.grid == (8, 2)
    assert wide.features.shape == (2, 8, 32)


def test_naflex_images_do_not_depend_on_their_neighbours(naflex):
    photos = [random_photo(0, 16, 64), random_photo(1, 64, 16), random_photo(2, 30, 31)]
    together = naflex.embed_images(photos)
    alone = np.concatenate([naflex.embed_images([photo]) for photo in photos])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    few = naflex.embed_images(photos, max_num_patches=4)
    assert np.abs(few - together).max() > 1e-3
    [features] = naflex.patch_features(photos[:1], max_num_patches=4)
    assert features.grid[0] * features.grid[1] <= 4


def test_a_patch_alone_through_the_head_is_what_the_tower_gives_for_one_patch(naflex):
    """With a single token the whole pooling head reduces to the value path."""
    photo = random_photo(3, 8, 8)
    [patches] = naflex.patch_features([photo], max_num_patches=1)
    assert patches.grid == (1, 1)
    projected = project_patches(naflex.checkpoint, patches.features)[0]
    embedding = naflex.embed_images([photo], max_num_patches=1)
    np.testing.assert_allclose(projected, embedding, atol=1e-4)


def test_heat_map_is_brightest_where_the_similarity_is(encoder):
    [patches] = encoder.patch_features([PHOTOS[0]])
    similarity = similarity_map(encoder.checkpoint, patches, encoder.embed_texts(["a cat"])[0])
    assert similarity.shape == (4, 4)
    assert np.abs(similarity).max() <= 1 + 1e-5
    marked = np.zeros((4, 4), np.float32)
    marked[3, 0] = 1
    picture = np.asarray(draw_heatmap(Image.new("L", (80, 40), 128), marked), np.float32)
    assert picture.shape == (40, 80, 3)
    red = picture[..., 0]
    row, column = np.unravel_index(red.argmax(), red.shape)
    assert row >= 30
    assert column < 20


def test_fingerprint_follows_weights_pixels_and_case_but_not_the_runtime(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path)

    class AnyRuntime:
        name, device, precision, config = "none", "cuda", "float32", checkpoint.config

        def encode_images(self, batch: ImageBatch, *, return_patches: bool = False) -> ImageFeatures:
            raise NotImplementedError

        def encode_texts(self, ids: np.ndarray) -> np.ndarray:
            raise NotImplementedError

        def prepare_text_tower(self) -> None:
            raise NotImplementedError

        def release_text_tower(self) -> None:
            raise NotImplementedError

    encoder = Encoder(checkpoint, AnyRuntime())
    same = tiny_encoder(tmp_path).fingerprint
    assert encoder.fingerprint == same
    assert encoder.default_batch_size > tiny_encoder(tmp_path).default_batch_size
    others = {
        tiny_encoder(tmp_path, seed=1).fingerprint,
        Encoder(checkpoint, AnyRuntime(), image_preset="timm").fingerprint,
        Encoder(checkpoint, AnyRuntime(), lowercase="unicode").fingerprint,
        Encoder(replace(checkpoint, tokenizer=None), AnyRuntime()).fingerprint,
    }
    assert len(others | {same}) == 5


def test_texts_after_the_text_tower_was_released(tmp_path):
    encoder = tiny_encoder(tmp_path)
    before = encoder.embed_texts(["a cat", "the moon"])
    encoder.release_text_tower()
    assert "text_preprocessor" not in vars(encoder)
    np.testing.assert_array_equal(encoder.embed_texts(["a cat", "the moon"]), before)


def test_weights_without_vocabulary_still_embed_images(tmp_path):
    encoder = tiny_encoder(tmp_path)
    bare = Encoder(replace(encoder.checkpoint, tokenizer=None), encoder.runtime, model_id="bare")
    assert bare.embed_images(PHOTOS[:1]).shape == (1, 32)
    with pytest.raises(InvalidInput, match=r"bare has no tokenizer\.json"):
        bare.embed_texts(["a cat"])


def test_load_takes_a_folder_or_the_environment(tmp_path, monkeypatch):
    folder = write_tiny_model(tmp_path)
    encoder = siglip2.load(folder, precision="float32", runtime="openvino")
    expected = tiny_encoder(tmp_path)
    np.testing.assert_allclose(encoder.embed_images(PHOTOS), expected.embed_images(PHOTOS), atol=1e-5)
    monkeypatch.setenv("SIGLIP2_MODEL", str(folder))
    assert siglip2.load(runtime="openvino").model_id == str(folder)
    with pytest.raises(ModelNotFound):
        siglip2.load(tmp_path / "nothing")


def test_the_package_offers_its_names_without_importing_them():
    assert {"load", "Encoder", "ZeroShotClassifier"} <= set(dir(siglip2))
    with pytest.raises(AttributeError, match="nonsense"):
        siglip2.nonsense  # noqa: B018
    code = "import sys, siglip2; print(sorted(m for m in ('numpy', 'openvino', 'PIL') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder

import numpy as np

class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "transformers"):
            return None
        return super().find_spec(name, path, target)

sys.meta_path[:] = [WithoutTorch if finder is PathFinder else finder for finder in sys.meta_path]
import siglip2

classifier = siglip2.ZeroShotClassifier(siglip2.load(sys.argv[1]), ["a cat", "a dog"])
[predictions] = classifier.classify([np.zeros((40, 40, 3), np.uint8)])
assert len(predictions) == 2
assert not any(name.split(".")[0] == "torch" for name in sys.modules)
print("classified")
"""


def test_an_environment_without_torch_classifies(tmp_path: Path):
    folder = write_tiny_model(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.strip() == "classified", done.stderr
