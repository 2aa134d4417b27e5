"""The tables of docs/evaluation.md are those of the package."""

import importlib.util
from pathlib import Path


def test_the_page_holds_the_published_tables():
    path = Path(__file__).resolve().parents[2] / "docs" / "write_evaluation.py"
    spec = importlib.util.spec_from_file_location("write_evaluation", path)
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    page = writer.PAGE.read_text(encoding="utf-8")
    assert writer.page_with_tables(page) == page
    assert "| base-patch16-256 | 79.1 |" in page
