"""Damaged images give patches or InvalidImage, and nothing else."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "damaged_images.py"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)  # where it finds its neighbours, as when it is started
        return importlib.import_module(SCRIPT.stem)


def test_three_hundred_damaged_images(script):
    report = script.check(300, seed=1)
    assert report["other"] == []
    # The damage must neither destroy everything nor nothing.
    assert report["results"]["patches"] > 30
    assert report["results"]["InvalidImage"] > 100


def test_the_same_seed_makes_the_same_images(script):
    first, second = (list(script.damaged_images(20, seed=3)) for _ in range(2))
    assert first == second
    assert first != list(script.damaged_images(20, seed=4))


def test_another_exception_would_be_reported(script, monkeypatch):
    def broken(self, image):
        raise KeyError("tile")

    monkeypatch.setattr(script.ImagePreprocessor, "prepare_one", broken)
    assert len(script.check(3, seed=0)["other"]) == 3


@pytest.mark.slow
def test_ten_thousand_damaged_images():
    # In a process of its own: a decoder that crashed would take the tests with it, and the peak of memory
    # is its own.
    command = [sys.executable, "-W", "error", str(SCRIPT), "--count", "10000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    report = json.loads(done.stdout)
    assert report["other"] == []
    assert report["peak_megabytes"] < 1000
    assert sum(report["results"].values()) == 10000
