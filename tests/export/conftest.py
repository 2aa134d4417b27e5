"""One export of `nano`, and one of a NaFlex model, for all tests that only read them."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_model import tiny_encoder

from siglip2.cli.main import run
from siglip2.encoder import Encoder


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


@pytest.fixture(scope="session")
def naflex_onnx(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Path]:
    """A tiny NaFlex model, and the folder of its export."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from siglip2.export.files import export

    folder = tmp_path_factory.mktemp("naflex")
    encoder = tiny_encoder(folder, naflex=True)
    export(encoder.checkpoint, folder / "out", "onnx")
    return encoder, folder / "out"
