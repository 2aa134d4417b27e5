"""docs/search.md, run as written: every command and the Python block, with `nano` where no model is named."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.search.conftest import draw_photos

from siglip2.cli.main import run
from siglip2.errors import ModelNotFound
from siglip2.weights.locate import default_model

PAGE = Path(__file__).resolve().parents[2] / "docs" / "search.md"

# What does not end, or needs a machine that tests do not have; other tests run these parts.
LEFT_OUT = {
    'siglip2 search "a red bicycle" --open',
    "siglip2 index add ~/Pictures --watch",
    "siglip2 index serve",
    "siglip2 index add /photos --ray ADDRESS",
}
NAMES = {"FOLDER": "~/Pictures/family", "NAME": "nano"}


def commands() -> list[str]:
    """In their order: lines of blocks, and what stands between backquotes."""
    found = re.findall(r"(?:^|`)(siglip2 (?:[^`\n\\]|\\\|)+?)(?:`|$)", PAGE.read_text("utf-8"), re.MULTILINE)
    return [command.replace("\\|", "|") for command in found]


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with photos and a table of products."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SIGLIP2_MODEL", "nano")
    for name in ("XDG_DATA_HOME", "SIGLIP2_COLLECTION"):
        monkeypatch.delenv(name, raising=False)
    try:
        default_model()
    except ModelNotFound:
        pytest.skip("the bundled model is missing from this tree")
    draw_photos(tmp_path / "Pictures" / "family", 8)
    shutil.copy(draw_photos(tmp_path, 1)[0], tmp_path / "photo.jpg")
    (tmp_path / "products.csv").write_text("name,price\nshoe,10\nhat,30\n")
    (tmp_path / "cats").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_as_written(newcomer, capsys):
    found = commands()
    assert set(found) > LEFT_OUT
    ran = 0
    for command in found:
        if command in LEFT_OUT or command in ("siglip2 index", "siglip2 search"):
            continue
        words = [NAMES.get(word, word) for word in shlex.split(command.split("|")[0])]
        # What the shell would do.
        arguments = [str(newcomer) + word[1:] if word.startswith("~/") else word for word in words[1:]]
        capsys.readouterr()
        # No photo was taken by a camera here: nothing found is a right answer to a filter on dates.
        assert run(arguments) in ((0, 1) if "--where" in command else (0,)), command
        if "--paths0" in command:
            paths = capsys.readouterr().out
            copied = subprocess.run(["xargs", "-0", "cp", "-t", "cats/"], input=paths.encode(), check=False)
            assert copied.returncode == 0
            assert list((newcomer / "cats").iterdir())
        ran += 1
    assert ran >= 15


def test_python_as_written(newcomer, capsys):
    (block,) = re.findall(r"```\n(from siglip2.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    exec(compile(block, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.splitlines()[0] == "8"
