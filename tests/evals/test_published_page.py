"""The tables of docs/evaluation.md are those of the package; the two pages about nano are one."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from siglip2.errors import InvalidInput

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load_writer(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_the_published_tables():
    writer = load_writer("write_evaluation")
    page = writer.PAGE.read_text(encoding="utf-8")
    assert writer.page_with_tables(page) == page
    assert "| base-patch16-256 | 79.1 |" in page


def test_the_model_card_is_the_page():
    writer = load_writer("write_nano")
    page, card = (path.read_text(encoding="utf-8") for path in (writer.PAGE, writer.CARD))
    assert writer.card_of(page, card) == card


def result(task: str, **identity: object) -> dict[str, Any]:
    protocol = {"templates": "plain", "lowercase": "ascii", "image_preset": "transformers", "ties": "against"}
    return {
        "title": f"The task {task}",
        "main": "top_1",
        "chance": 0.005,
        "sizes": {"images": 5000},
        "seconds": 12.0,
        "machine": "a machine",
        "versions": {"siglip2": "0"},
        "identity": {
            "fingerprint": "", "precision": "f32", "limit": None, "protocol": protocol, **identity
        },
        "measures": {
            "top_1": {"value": 0.3512, "low": 0.338, "high": 0.364},
            "rmse": {"value": 0.848, "low": 0.8, "high": 0.9},
        },
        "details": {},
    }  # fmt: skip


def test_results_become_the_page():
    writer = load_writer("write_nano")
    page = writer.PAGE.read_text(encoding="utf-8")
    written = writer.page_with_results(page, {"tiny_imagenet_10shot": result("of ten")})
    assert "| The task of ten (5,000 images) | top 1 | 35.1 (33.8 to 36.4) | 0.5 |" in written
    assert "--preset transformers --templates plain`" in written
    assert "Retrieval in each language" not in written
    assert written.split(writer.END)[1] == page.split(writer.END)[1]


def test_results_of_other_weights_or_of_a_part_are_refused():
    import siglip2

    writer = load_writer("write_nano")
    with pytest.raises(InvalidInput, match="other weights"):
        writer.check_results({"camvid": result("camvid", fingerprint="of another")})
    bundled = siglip2.load("nano", image_preset="transformers").fingerprint
    writer.check_results({"camvid": result("camvid", fingerprint=bundled)})
    with pytest.raises(InvalidInput, match="on 40 images"):
        writer.check_results({"camvid": result("camvid", fingerprint=bundled, limit=40)})
