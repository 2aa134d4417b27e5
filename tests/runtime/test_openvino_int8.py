"""int8 towers: made once, saved, reused, near to float32."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino_models import FIXED, NAFLEX, cosines, random_ids, random_images, saved_checkpoint

from siglip2.config import ModelConfig
from siglip2.errors import Siglip2Error
from siglip2.runtime import openvino_int8
from siglip2.runtime.openvino import OpenVinoRuntime
from siglip2.runtime.openvino_int8 import default_folder, quantize
from siglip2.runtime.openvino_samples import sample_images, sample_texts
from siglip2.weights.checkpoint import Checkpoint

nncf = pytest.importorskip("nncf", reason="int8 needs nncf")
pytestmark = pytest.mark.filterwarnings("ignore")  # of NNCF's own dependencies


def test_int8_is_near_to_float32_and_reused(tmp_path: Path) -> None:
    config = FIXED["patch 16"]
    checkpoint = saved_checkpoint(config, tmp_path)
    batch, ids = random_images(config, 8), random_ids(config, 8)
    report = quantize(checkpoint, [batch], ids)
    assert min(report.image_cosine_min, report.text_cosine_min) > 0.95
    assert report.image_cosine_mean >= report.image_cosine_min

    saved = default_folder(checkpoint) / "vision.xml"
    before = saved.stat().st_mtime_ns
    exact = OpenVinoRuntime(checkpoint, precision="float32")
    runtime = OpenVinoRuntime(checkpoint, precision="int8")
    assert saved.stat().st_mtime_ns == before
    assert runtime.precision == "int8"
    images = cosines(runtime.encode_images(batch).pooled, exact.encode_images(batch).pooled)
    assert images.min() > 0.95
    assert images.max() < 1 - 1e-7, "these are the float32 towers"
    assert cosines(runtime.encode_texts(ids), exact.encode_texts(ids)).min() > 0.95


def test_towers_are_made_again_for_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def save_graph(graph: ov.Model, inputs: list, path: Path) -> np.ndarray:
        made.append(path.name)
        ov.save_model(graph, path)
        return np.ones(1)

    monkeypatch.setattr(openvino_int8, "_quantize_tower", save_graph)
    config = NAFLEX["patch 16"]
    for seed in (0, 0, 5):
        OpenVinoRuntime(saved_checkpoint(config, tmp_path, seed), precision="int8")
    assert made == ["vision.xml", "text.xml"] * 2


def test_weights_in_memory_need_a_folder() -> None:
    config = FIXED["patch 16"]
    from siglip2.weights.shapes import expected_shapes

    tensors = {name: np.ones(shape, np.float32) for name, shape in expected_shapes(config).items()}
    with pytest.raises(Siglip2Error, match="name a folder"):
        OpenVinoRuntime(Checkpoint.from_tensors(config, tensors), precision="int8")


@pytest.mark.parametrize("config", [FIXED["patch 16"], NAFLEX["patch 16"]], ids=["fixed", "naflex"])
def test_drawn_calibration_data_fits_the_model(config: ModelConfig) -> None:
    images, texts = sample_images(config.vision), sample_texts(config.text)
    for batch in images:
        assert batch.patches.dtype == np.uint8
        assert batch.grids.prod() == batch.patches.shape[1]
        assert batch.patches.std() > 5
    assert texts.shape[1] == config.text.context_length
    assert ((texts == 1).sum(axis=1) >= 1).all()
