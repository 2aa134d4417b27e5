"""The example page in a real browser: it classifies as the Python package does, and asks no other host.

Needs Playwright, Chromium, and NODE_PATH naming a `node_modules` with `onnxruntime-web`.
"""

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from tests.chromium import headless_chromium
from tests.tiny_model import random_photo

import siglip2

PAGE = Path(__file__).parents[2] / "examples" / "browser"
ORT_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def onnxruntime_web() -> Path:
    for folder in os.environ.get("NODE_PATH", "").split(os.pathsep):
        if folder and (found := Path(folder) / "onnxruntime-web" / "dist").is_dir():
            return found
    pytest.skip("needs NODE_PATH naming a node_modules with onnxruntime-web")


@pytest.fixture(scope="module")
def site(nano_onnx, tmp_path_factory) -> Iterator[str]:
    """The page as its README says to lay it out, on a server of this machine."""
    packages = onnxruntime_web()
    folder = tmp_path_factory.mktemp("site")
    for file in PAGE.glob("*.*"):
        shutil.copy(file, folder)
    (folder / "ort").mkdir()
    for name in ORT_FILES:
        shutil.copy(packages / name, folder / "ort")
    shutil.copytree(nano_onnx[0], folder / "model")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_page_classifies_as_python_does(site, tmp_path):
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    photo = tmp_path / "photo.png"
    Image.fromarray(random_photo(3, 200, 150)).save(photo)
    with headless_chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        faults: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(site)
        api.expect(page.locator("#status")).to_contain_text("Ready", timeout=60_000)
        labels = ["a goldfish", "<b>red wine</b>", "ein Hund am Strand", "狗"]
        page.fill("#labels", "\n".join([*labels, labels[0], ""]))
        page.set_input_files("#file", photo)
        api.expect(page.locator("#bars li")).to_have_count(len(labels), timeout=60_000)
        rows = "rows.map(r => [r.querySelector('.label').textContent, r.querySelector('.fill').style.width])"
        found = page.locator("#bars li").evaluate_all(f"rows => {rows}")
        expected = siglip2.ZeroShotClassifier(siglip2.load("nano", precision="float32"), labels).classify(
            [photo]
        )[0]
        assert [label for label, _ in found] == [each.label for each in expected]
        for (_, width), each in zip(found, expected, strict=True):
            assert float(width.rstrip("%")) == pytest.approx(100 * each.score, abs=0.1)
        assert page.locator("#bars b").count() == 0
        page.fill("#labels", "one\ntwo")
        api.expect(page.locator("#bars li")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        (tmp_path / "broken.png").write_text("no picture")
        page.set_input_files("#file", tmp_path / "broken.png")
        api.expect(page.locator("#status")).to_have_text("broken.png is no picture that the browser can read")
        # The browser itself reports the broken preview, which has a blob's address.
        assert [each for each in faults if "blob:" not in each] == []
        assert {each.split("/")[2] for each in asked if not each.startswith(("blob:", "data:"))} == {site[7:]}
