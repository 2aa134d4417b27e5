"""Code blocks of the README do what they say, offline, with the bundled model."""

import importlib.util
import re
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

README = Path(__file__).resolve().parent.parent / "README.md"
PHOTOS = {"cat": "chelsea.png", "coffee": "coffee.png", "rocket": "rocket.jpg"}


def blocks(language: str) -> list[str]:
    """Contents of the README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture
def folder_with_photos(tmp_path, monkeypatch):
    """A working directory with scikit-image's sample photographs in `photos/`."""
    if not (files("siglip2") / "assets" / "nano").is_dir():
        pytest.skip("the bundled model nano is not there yet")
    scikit_image = importlib.util.find_spec("skimage")
    if scikit_image is None or scikit_image.origin is None:
        pytest.skip("needs scikit-image: pip install 'siglip2[demo]'")
    samples = Path(scikit_image.origin).parent / "data"
    (tmp_path / "photos").mkdir()
    for name, file in PHOTOS.items():
        Image.open(samples / file).convert("RGB").save(tmp_path / "photos" / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", commands())
def test_command(command, folder_with_photos):
    program, *arguments = shlex.split(command)
    assert program == "siglip2"
    result = subprocess.run(
        [sys.executable, "-m", "siglip2.cli.main", *arguments], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_python(folder_with_photos, capsys):
    """The blocks share their names, from first to last."""
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert all(line.startswith(("tabby cat ", "espresso ", "rocket ")) for line in printed)


def test_there_is_something_to_run():
    assert len(commands()) >= 7
    assert len(blocks("python")) >= 2
