"""The picture of a map: its colours, and what it takes to draw it over a large photo."""

import tracemalloc

import numpy as np
from PIL import Image

from siglip2 import heatmap
from siglip2.heatmap import draw_heatmap
from tiny_model import random_photo


def test_strips_do_not_show(monkeypatch):
    """Colours of levels in 0..1 over the whole photo at once, in floats."""
    photo, similarity = random_photo(0, 90, 61), np.random.default_rng(0).random((5, 7), np.float32)
    monkeypatch.setattr(heatmap, "_STRIP_PIXELS", 61 * 7)
    drawn = np.asarray(draw_heatmap(Image.fromarray(photo), similarity), np.float32)
    low, high = np.percentile(similarity, (2, 98))
    share = Image.fromarray(np.clip((similarity - low) / (high - low), 0, 1).astype(np.float32))
    level = np.clip(np.asarray(share.resize((61, 90), Image.Resampling.BICUBIC)), 0, 1)
    stops = np.array([[60, 20, 110], [180, 40, 100], [240, 110, 40], [255, 220, 60]])
    colour = np.stack([np.interp(3 * level, range(4), stops[:, channel]) for channel in range(3)], axis=-1)
    opacity, grey = 0.65 * level[..., None], np.asarray(Image.fromarray(photo).convert("L"))[..., None]
    np.testing.assert_allclose(drawn, (1 - opacity) * 0.75 * grey + opacity * colour, atol=2)


def test_a_large_photo_takes_little_more_memory_than_itself():
    photo = Image.new("RGB", (4000, 2000))
    tracemalloc.start()
    try:
        draw_heatmap(photo, np.eye(16, dtype=np.float32))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 4000 * 2000
