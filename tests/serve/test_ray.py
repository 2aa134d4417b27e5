"""The service on a local Ray cluster: the same answers and charges, also when a replica dies under load."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tiny_model import write_tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_replica_dies_under_load(tmp_path):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray Serve: pip install 'siglip2[ray]'")
    model = write_tiny_model(tmp_path / "model")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "tests.serve.ray_scenario", str(model), str(tmp_path)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["statuses"] == {"200": 160}
    assert said["towers"] == 2
    assert (said["classified"], said["stranger"], said["health"]) == (200, 401, 200)
    assert said["off"] < 1e-5
    assert said["errors"] == []
    assert said["used"] == 160 + 2
