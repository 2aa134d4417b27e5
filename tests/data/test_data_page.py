"""Every command and the Python of docs/data.md run as they stand, on photos made here."""

import os
import re
import shlex
from pathlib import Path

import pytest
from data_fixtures import table_folder
from tiny_owl import save_tiny_owl

from siglip2.cli.main import run

NEEDED = ("webdataset", "megatron.energon", "py3langid", "matplotlib", "pyarrow", "transformers", "torch")
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_page(tmp_path, monkeypatch, capsys):
    """In the order of the page, since each command takes what those before it made."""
    for package in NEEDED:
        pytest.importorskip(package, reason="needs siglip2[data] and transformers")
    photos = table_folder(tmp_path / "photos", 60)
    table = photos / "captions.csv"
    # Captions that speak of people, for the commands that balance.
    table.write_text(table.read_text(encoding="utf-8").replace("a brown dog", "a man"), encoding="utf-8")
    save_tiny_owl(tmp_path / "owlv2")
    monkeypatch.chdir(tmp_path)
    commands = [line[2:] for block in blocks("console") for line in block.splitlines()]
    assert len(commands) == 6
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "siglip2"
        assert run(arguments) == 0, command
        assert capsys.readouterr().out.strip(), command
    for made in ("check.html", "balance.html", "balance.parquet", "shards-with-boxes/samples.parquet"):
        assert os.path.getsize(made), made
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "data.md", "exec"), names)
    assert "(2, 32, 32, 3)" in capsys.readouterr().out
