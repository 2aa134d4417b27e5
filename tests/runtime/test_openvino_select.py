"""The choice of a runtime."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from openvino_models import FIXED, saved_checkpoint

from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.runtime import select
from siglip2.runtime.select import choose_runtime, open_runtime

CONFIG = FIXED["patch 16"]


@pytest.mark.parametrize("gpu", [True, False])
def test_auto_takes_torch_only_for_a_gpu(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "_torch_sees_gpu", lambda: gpu)
    assert choose_runtime("auto", "auto", None) == ("torch" if gpu else "openvino")
    assert choose_runtime("auto", "int8", None) == "openvino"
    assert choose_runtime("auto", "auto", "cpu") == "openvino"
    assert choose_runtime("auto", "auto", "cuda:1") == "torch"
    assert choose_runtime("openvino", "auto", None) == "openvino"
    assert choose_runtime("torch", "auto", None) == "torch"


def test_forced_choices(tmp_path: Path) -> None:
    checkpoint = saved_checkpoint(CONFIG, tmp_path)
    assert open_runtime(checkpoint, runtime="openvino").name == "openvino"
    assert open_runtime(checkpoint, runtime="torch", device="cpu").name == "torch"


def test_impossible_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = saved_checkpoint(CONFIG, tmp_path)
    with pytest.raises(InvalidInput, match="use runtime torch"):
        open_runtime(checkpoint, runtime="openvino", device="cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_runtime("auto", "auto", None) == "openvino"
    with pytest.raises(Siglip2Error, match="pip install"):
        open_runtime(checkpoint, runtime="torch")


def test_without_a_gpu_torch_is_not_imported(tmp_path: Path) -> None:
    saved_checkpoint(CONFIG, tmp_path)
    program = (
        "import sys, siglip2.runtime.select as select\n"
        "from siglip2.weights.hf import read_hf\nfrom pathlib import Path\n"
        "select._has_gpu_driver = lambda: False\n"
        "runtime = select.open_runtime(read_hf(Path(sys.argv[1])))\n"
        "assert 'torch' not in sys.modules\nprint(runtime.name)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.strip() == "openvino", done.stderr
