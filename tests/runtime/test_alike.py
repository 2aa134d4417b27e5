"""Photographs of alike length run together: each once, with little padding, and with the same features."""

import numpy as np
import pytest
from openvino_models import NAFLEX, assert_close, random_naflex, saved_checkpoint

from siglip2.inputs.batch import ImageBatch
from siglip2.runtime import alike
from siglip2.runtime import openvino as module
from siglip2.runtime.alike import MOST_PADDING, runs_of

LENGTHS = (256, 64, 192, 54, 240, 126, 64, 160, 1, 256)


def batch_of(lengths) -> ImageBatch:
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    patches = np.arange(mask.size, dtype=np.float32).reshape(*mask.shape, 1)
    grids = np.array([(1, length) for length in lengths], np.int32)
    return ImageBatch(patches=patches, grids=grids, mask=mask)


@pytest.mark.parametrize("most_tokens", [2048, 500, 100])
def test_each_image_runs_once_with_little_padding(most_tokens):
    batch = batch_of(LENGTHS)
    places = []
    for where, run in runs_of(batch, most_tokens):
        assert run.mask is not None
        assert (~run.mask).sum() <= MOST_PADDING
        assert run.mask.size <= most_tokens or len(run) == 1
        np.testing.assert_array_equal(run.patches, batch.patches[where, : run.patches.shape[1]])
        np.testing.assert_array_equal(run.grids, batch.grids[where])
        assert run.mask.sum(1).tolist() == [LENGTHS[index] for index in where]
        places += where.tolist()
    assert sorted(places) == list(range(len(LENGTHS)))


def test_without_padding_the_order_stays():
    runs = list(runs_of(batch_of([8] * 5), 16))
    assert [where.tolist() for where, _ in runs] == [[0, 1], [2, 3], [4]]
    nothing = ImageBatch(patches=np.zeros((0, 4, 1), np.float32), grids=np.zeros((0, 2), np.int32))
    assert list(runs_of(nothing, 16)) == []


def test_an_image_of_padding_alone_still_runs():
    batch = batch_of([4, 4])
    assert batch.mask is not None
    batch.mask[0] = False
    assert sorted(int(index) for where, _ in runs_of(batch, 100) for index in where) == [0, 1]


def test_features_are_those_of_one_padded_run(tmp_path, monkeypatch):
    config = NAFLEX["patch 16"]
    runtime = module.OpenVinoRuntime(saved_checkpoint(config, tmp_path), precision="float32")
    batch = random_naflex(config, [(3, 5), (4, 4), (8, 2), (1, 1), (3, 5)], 20)
    assert batch.mask is not None
    whole = runtime.encode_images(batch, return_patches=True)
    monkeypatch.setattr(alike, "MOST_PADDING", 0)
    assert len(list(runs_of(batch, 2048))) == 3
    apart = runtime.encode_images(batch, return_patches=True)
    assert whole.patches is not None
    assert apart.patches is not None
    assert_close(apart.pooled, whole.pooled, 1e-5)
    assert_close(apart.patches[batch.mask], whole.patches[batch.mask], 1e-5)
