"""What the OpenVINO runtime promises besides the numbers."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from openvino_models import (
    BFLOAT16,
    FIXED,
    NAFLEX,
    assert_close,
    needs_bfloat16,
    random_ids,
    random_images,
    random_naflex,
    saved_checkpoint,
)

from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.inputs.batch import ImageBatch
from siglip2.runtime import openvino as module
from siglip2.runtime.openvino import OpenVinoRuntime
from siglip2.runtime.openvino_inputs import CACHED_GRIDS, PositionCache
from siglip2.runtime.openvino_memory import mapped_file

CONFIG, FLEXIBLE = FIXED["patch 16"], NAFLEX["patch 16"]


@pytest.fixture(scope="module")
def fixed(tmp_path_factory) -> OpenVinoRuntime:
    return OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path_factory.mktemp("fixed")), precision="float32")


@pytest.fixture(scope="module")
def naflex(tmp_path_factory) -> OpenVinoRuntime:
    checkpoint = saved_checkpoint(FLEXIBLE, tmp_path_factory.mktemp("naflex"))
    return OpenVinoRuntime(checkpoint, precision="float32")


def test_a_photo_alone_padded_and_in_any_order_is_the_same(naflex: OpenVinoRuntime) -> None:
    grids = [(3, 5), (4, 4), (8, 2), (1, 1)]
    together = naflex.encode_images(random_naflex(FLEXIBLE, grids, 40)).pooled
    backwards = naflex.encode_images(random_naflex(FLEXIBLE, grids[::-1], 17)).pooled[::-1]
    assert_close(backwards.copy(), together, 1e-5)
    for row, (high, wide) in enumerate(grids):
        alone = random_naflex(FLEXIBLE, [(high, wide)], high * wide)
        assert_close(naflex.encode_images(alone).pooled, together[row : row + 1], 1e-5)
        unmasked = replace(alone, mask=None)
        assert_close(naflex.encode_images(unmasked).pooled, together[row : row + 1], 1e-5)


def test_what_stands_at_the_padding_does_not_matter(naflex: OpenVinoRuntime) -> None:
    batch = random_naflex(FLEXIBLE, [(3, 5), (4, 4)], 20)
    assert batch.mask is not None
    noisy = batch.patches.copy()
    noisy[~batch.mask] = 1e4
    before = naflex.encode_images(batch).pooled
    assert_close(naflex.encode_images(replace(batch, patches=noisy)).pooled, before, 1e-5)


def test_bytes_are_scaled(fixed: OpenVinoRuntime) -> None:
    shape = random_images(CONFIG, 2)
    pixels = np.random.default_rng(0).integers(0, 256, shape.patches.shape, np.uint8)
    scaled = replace(shape, patches=(pixels / 127.5 - 1).astype(np.float32))
    raw = fixed.encode_images(replace(shape, patches=pixels)).pooled
    assert_close(raw, fixed.encode_images(scaled).pooled, 1e-5)


def test_batches_are_run_in_pieces(fixed: OpenVinoRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, ids = random_images(CONFIG, 7), random_ids(CONFIG, 7)
    whole, texts = fixed.encode_images(batch, return_patches=True), fixed.encode_texts(ids)
    monkeypatch.setattr(module, "TOKENS_PER_RUN", 2 * 16)
    pieces = fixed.encode_images(batch, return_patches=True)
    assert whole.patches is not None
    assert pieces.patches is not None
    assert_close(pieces.pooled, whole.pooled, 1e-5)
    assert_close(pieces.patches, whole.patches, 1e-5)
    assert_close(fixed.encode_texts(ids), texts, 1e-5)


def test_nothing_in_gives_nothing_out(fixed: OpenVinoRuntime) -> None:
    assert fixed.encode_texts(random_ids(CONFIG, 0)).shape == (0, 48)
    features = fixed.encode_images(random_images(CONFIG, 0), return_patches=True)
    assert features.pooled.shape == (0, 48)
    assert features.patches is not None
    assert features.patches.shape == (0, 16, 48)


def test_patch_features_only_if_asked_for(fixed: OpenVinoRuntime) -> None:
    assert fixed.encode_images(random_images(CONFIG, 1)).patches is None


def test_many_threads_get_their_own_answers(tmp_path: Path) -> None:
    runtime = OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path), precision="float32")
    batches = [random_images(CONFIG, 1 + seed % 3, seed) for seed in range(16)]
    ids = [random_ids(CONFIG, 1 + seed % 3, seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(runtime.encode_images, batches))
        texts = list(pool.map(runtime.encode_texts, ids))
    for each in range(16):
        assert_close(images[each].pooled, runtime.encode_images(batches[each]).pooled, 1e-5)
        assert_close(texts[each], runtime.encode_texts(ids[each]), 1e-5)


def test_a_tower_is_compiled_when_it_is_used(tmp_path: Path) -> None:
    runtime = OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path), precision="float32")
    runtime.encode_images(random_images(CONFIG, 1))
    assert runtime._vision._compiled is not None
    assert runtime._text._compiled is None


def test_a_prepared_text_tower_is_compiled_once(tmp_path: Path) -> None:
    runtime = OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path), precision="float32")
    runtime.prepare_text_tower()
    prepared = runtime._text._compiled
    assert prepared is not None
    runtime.prepare_text_tower()
    runtime.encode_texts(random_ids(CONFIG, 2))
    assert runtime._text._compiled is prepared


def test_a_compilation_that_failed_is_tried_again(tmp_path: Path) -> None:
    runtime = OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path), precision="float32")
    compile_graph, failures = runtime._text._compile, [MemoryError("no room")]

    def flaky(graph):
        if failures:
            raise failures.pop()
        return compile_graph(graph)

    runtime._text._compile = flaky
    runtime.prepare_text_tower()
    with pytest.raises(MemoryError, match="no room"):
        runtime.encode_texts(random_ids(CONFIG, 2))
    assert runtime.encode_texts(random_ids(CONFIG, 2)).shape == (2, 48)


def test_a_released_text_tower_comes_back(tmp_path: Path) -> None:
    runtime = OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path), precision="float32")
    images, ids = random_images(CONFIG, 2), random_ids(CONFIG, 3)
    pooled, before = runtime.encode_images(images).pooled, runtime.encode_texts(ids)
    runtime.release_text_tower()
    assert runtime._text._compiled is None
    assert not runtime._text._idle
    assert runtime._vision._compiled is not None
    np.testing.assert_array_equal(runtime.encode_images(images).pooled, pooled)
    np.testing.assert_array_equal(runtime.encode_texts(ids), before)


def test_a_run_under_way_outlives_the_release(tmp_path: Path) -> None:
    runtime = OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path), precision="float32")
    ids = random_ids(CONFIG, 3)
    expected = runtime.encode_texts(ids)
    with runtime._text.run(runtime._text_inputs.make(ids)) as outputs:
        runtime.release_text_tower()
        np.testing.assert_array_equal(outputs("pooled"), expected)
    assert not runtime._text._idle  # it belongs to what was released
    np.testing.assert_array_equal(runtime.encode_texts(ids), expected)


def test_weights_outlive_the_checkpoint_object(tmp_path: Path) -> None:
    runtime = OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path), precision="float32")
    before = runtime.encode_images(random_images(CONFIG, 2)).pooled
    # Another batch size makes OpenVINO go back to the constants, whose pages have been released by now.
    after = runtime.encode_images(random_images(CONFIG, 5)).pooled
    assert after.shape == (5, 48)
    assert_close(runtime.encode_images(random_images(CONFIG, 2)).pooled, before, 1e-6)


def test_saved_weights_are_mapped_and_arrays_are_not(tmp_path: Path) -> None:
    checkpoint = saved_checkpoint(CONFIG, tmp_path)
    name = "vision_model.post_layernorm.weight"
    assert mapped_file(checkpoint.tensors[name].bits) is not None
    assert mapped_file(np.ones(3)) is None


def test_position_tables_are_kept_within_bounds(tmp_path: Path) -> None:
    cache = PositionCache(saved_checkpoint(FLEXIBLE, tmp_path))
    first = cache.get((1, 1))
    assert cache.get((1, 1)) is first
    for side in range(2, 64):
        cache.get((side, 1))
        cache.get((1, side))
    assert len(cache._tables) == CACHED_GRIDS
    assert (1, 1) not in cache._tables


def test_positions_one_patch_wide(tmp_path: Path) -> None:
    """Each axis is averaged on its own, as in JAX; torch 2.13 gives other numbers for (high, 1)."""
    checkpoint = saved_checkpoint(FLEXIBLE, tmp_path)
    cache = PositionCache(checkpoint)
    wide = cache.get((20, 16)).reshape(20, 16, -1)
    triangle = 1 - np.abs((np.arange(16) + 0.5) / 16 - 0.5)
    assert_close(cache.get((20, 1)), np.einsum("hwd,w->hd", wide, triangle / triangle.sum()), 1e-5)


def test_the_choice_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "siglip2"):
        runtime = OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path), threads=1)
    assert len(caplog.messages) == 1
    assert "openvino" in caplog.messages[0]
    assert runtime.precision in caplog.messages[0]
    assert (runtime.name, runtime.device) == ("openvino", "cpu")


def test_bfloat16_is_taken_where_it_is_native(tmp_path: Path) -> None:
    checkpoint = saved_checkpoint(CONFIG, tmp_path)
    assert OpenVinoRuntime(checkpoint).precision == ("bfloat16" if BFLOAT16 else "float32")
    if not BFLOAT16:
        with pytest.raises(Siglip2Error, match="float32 or int8"):
            OpenVinoRuntime(checkpoint, precision="bfloat16")


@needs_bfloat16
def test_the_residual_stream_is_in_bfloat16(tmp_path: Path) -> None:
    tower = OpenVinoRuntime(saved_checkpoint(CONFIG, tmp_path), precision="bfloat16")._vision
    with tower.run({"patches": np.zeros((1, 16, 768), np.float32)}) as outputs:
        assert outputs("patch_features").dtype == outputs("pooled").dtype == np.float32
    assert tower._compiled is not None
    nodes = tower._compiled.result().get_runtime_model().get_ordered_ops()
    information = [node.get_rt_info() for node in nodes]
    sums = [
        each["runtimePrecision"].astype(str)
        for each in information
        if each["layerType"].astype(str) == "Eltwise" and "Add" in each["originalLayersNames"].astype(str)
    ]
    # The last sum, of the pooling head, goes to an output in float32.
    assert sums.count("bf16") > 2 * CONFIG.vision.depth
    assert sums.count("f32") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(patches=np.zeros((2, 16, 700), np.float32)), "expected .B, N, 768."),
        (dict(patches=np.zeros((2, 9, 768), np.float32)), "takes 16"),
        (dict(patches=np.zeros((2, 16, 768))), "float64"),
        (dict(mask=np.zeros((2, 16), bool)), "no padded"),
    ],
)
def test_images_that_do_not_fit(fixed: OpenVinoRuntime, change: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        fixed.encode_images(replace(random_images(CONFIG, 2), **change))


def test_grids_that_do_not_fit(naflex: OpenVinoRuntime) -> None:
    patches = np.zeros((1, 70, 768), np.float32)
    with pytest.raises(InvalidInput, match="more patches than the 70"):
        naflex.encode_images(ImageBatch(patches=patches, grids=np.array([[9, 9]], np.int32)))
    with pytest.raises(InvalidInput, match="64"):
        naflex.encode_images(ImageBatch(patches=patches, grids=np.array([[65, 1]], np.int32)))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros((1, 15), np.int64), "16"),
        (np.full((1, 16), 300), "0..299"),
        (np.full((1, 16), -1), "0..299"),
        (np.zeros((1, 16)), "integers"),
    ],
)
def test_token_ids_that_do_not_fit(fixed: OpenVinoRuntime, ids: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        fixed.encode_texts(ids)
