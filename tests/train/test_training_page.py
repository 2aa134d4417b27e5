"""Every command of docs/training.md, run one after the other as a newcomer would."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.train.test_fine_tune import write_folder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def commands() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def run(command: str, folder: Path) -> str:
    program, *arguments = shlex.split(command)
    # The programs beside this interpreter, whatever the path says.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    beside = Path(sys.executable).parent / program
    result = subprocess.run(
        [str(beside), *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, f"{command}\n{result.stderr[-2000:]}"
    return result.stdout


def test_commands_work_in_order(tmp_path):
    pytest.importorskip("peft", reason="the page's low-rank command needs peft")
    write_folder(tmp_path / "photos", count=48)
    printed = {command: run(command, tmp_path) for command in commands()}
    assert len(printed) >= 9
    (classified,) = [text for command, text in printed.items() if command.startswith("siglip2 classify")]
    assert "a red thing" in classified
    assert (tmp_path / "runs/mine/report.html").is_file()
    assert (tmp_path / "runs/low_rank/adapter/adapter_model.safetensors").is_file()
    assert (tmp_path / "runs/two/model/model.safetensors").is_file()
