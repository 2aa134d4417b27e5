"""Indexing on a Ray cluster: the same rows as on one machine, also when a machine dies."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.search.conftest import draw_photos

from siglip2.search.collection import Collection
from siglip2.search.filters import Filter
from siglip2.weights.load import save_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_worker_dies(tmp_path, encoder):
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("ray.data") is None:
        pytest.skip("needs Ray Data: pip install 'ray[data]'")
    paths = draw_photos(tmp_path / "photos", 120)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    paths[0].rename(paths[0].with_name("odd name é\n.png"))
    save_checkpoint(encoder.checkpoint, tmp_path / "model")
    with Collection.open(tmp_path / "here", encoder) as here:
        here.add([tmp_path / "photos"])
        expected = {
            Path(row.paths[0]).name: (row.facts, here.store.vector(here.model, row.id))
            for row in here.store.rows(here.store.matching(here.model, []).tolist())
        }
    arguments = [str(tmp_path / name) for name in ("photos", "model", "there")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.search.ray_indexing_scenario", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["killed"], said["found"], said["embedded"]) == (1, 121, 120)
    assert len(said["broken"]) == 1
    assert "broken.jpg" in said["broken"][0]
    assert said["again"] == [0, 120, 1]
    with Collection.open(tmp_path / "there") as there:
        rows = there.store.rows(there.store.matching(there.model, [Filter("kind", "=", "image")]).tolist())
        assert {Path(row.paths[0]).name for row in rows} == set(expected)
        for row in rows:
            facts, vector = expected[Path(row.paths[0]).name]
            made = there.store.vector(there.model, row.id)
            assert row.facts == facts
            assert vector is not None
            assert made is not None
            assert np.abs(made - vector).max() < 1e-5
