"""One export of `nano` for all tests that only read it."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from siglip2.cli.main import run


@pytest.fixture(scope="session")
def nano_onnx(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of `siglip2 export nano --to onnx --int8`, and the rows that it printed."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("nano")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert run(["export", "nano", "--to", "onnx", "--output", str(folder), "--int8"]) == 0
    return folder, [json.loads(line) for line in printed.getvalue().splitlines()]
