"""Photos decoded by other processes: in order, and whatever a decoder does."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.search.conftest import draw_photos

from siglip2.search import decoders
from siglip2.search.decoder_process import Failure
from siglip2.search.decoders import Photo, decode_photos
from siglip2.search.rows import SeenFile

MISBEHAVING = """
import os, signal, time
from siglip2.inputs.image import ImagePreprocessor
from siglip2.search import decoder_process

prepare = ImagePreprocessor.prepare_one

def misbehave(self, source, **options):
    name = os.path.basename(source.name)
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "hang" in name:
        open(source.name + ".hangs", "w").close()
        time.sleep(3600)
    print("noise on standard output", flush=True)
    return prepare(self, source, **options)

ImagePreprocessor.prepare_one = misbehave
decoder_process.main()
"""


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch):
    """Sets the program, and lets go of processes that run another one."""

    def choose(program: str | None = None) -> None:
        decoders._idle.end()
        if program is not None:
            monkeypatch.setattr(decoders, "COMMAND", [sys.executable, "-c", program])

    yield choose
    decoders._idle.end()


def decoded(paths: list[Path], encoder, known=lambda _: False):
    photos = (Photo(file=SeenFile(path=str(path), size=0, mtime_ns=0)) for path in paths)
    return list(decode_photos(photos, encoder.image_preprocessor, known, ahead=4))


def test_in_order_and_as_the_encoder_prepares_them(tmp_path, encoder, decoder):
    decoder()
    paths = draw_photos(tmp_path, 30)
    found = decoded(paths, encoder)
    assert [each.photo.file.path for each in found] == [str(path) for path in paths]
    for each, path in zip(found, paths, strict=True):
        assert each.prepared is not None
        expected = encoder.image_preprocessor.prepare_one(path)
        assert (each.prepared.image.patches == expected.patches).all()
        assert (each.prepared.facts.width, each.prepared.facts.height) == (40, 40)


def test_known_content_is_not_prepared(tmp_path, encoder, decoder):
    decoder()
    paths = draw_photos(tmp_path, 3)
    (tmp_path / "none.png").write_bytes(b"")
    first = decoded(paths, encoder)[1].digest
    found = decoded([*paths, tmp_path / "none.png"], encoder, lambda digest: digest == first)
    assert [each.prepared is None for each in found] == [False, True, False, True]
    assert [each.failure for each in found[:3]] == [None, None, None]
    assert found[3].failure == Failure(reason=f"{tmp_path / 'none.png'} is empty", lasting=False)


def test_a_decoder_that_dies_costs_one_photo(collection, tmp_path, decoder):
    decoder(MISBEHAVING)
    paths = draw_photos(tmp_path / "photos", 12)
    for index, name in ((3, "crash.png"), (4, "crash too.png")):
        paths[index].rename(paths[index].with_name(name))
    report = collection.add([tmp_path / "photos"], batch_size=4)
    assert report.embedded == 10
    reasons = [each.reason for each in report.broken]
    assert len(reasons) == 2
    assert all("crash" in each and "ended the process that decoded it" in each for each in reasons)
    assert collection.add([tmp_path / "photos"]).known == 10


def test_a_decoder_that_hangs_costs_one_photo(collection, tmp_path, decoder, monkeypatch):
    """However slow the machine: patience ends when the decoder says that it hangs."""
    decoder(MISBEHAVING)
    hangs = tmp_path / "photos" / "hang.png"
    draw_photos(tmp_path / "photos", 1)[0].rename(hangs)

    class Patience(threading.Timer):
        def __init__(self, _: float, give_up: Callable[[], None]):
            super().__init__(0.05, give_up)

        def run(self) -> None:
            while not self.finished.wait(self.interval):
                if hangs.with_name("hang.png.hangs").exists():
                    self.function()
                    return

    with monkeypatch.context() as patch:
        patch.setattr(decoders.threading, "Timer", Patience)
        (broken,) = collection.add([tmp_path / "photos"]).broken
    assert broken.reason == f"{hangs} kept its decoder busy for more than 120 s"
    assert not broken.lasting
    hangs.unlink()
    draw_photos(tmp_path / "photos", 3)
    assert collection.add([tmp_path / "photos"]).embedded == 3


def test_idle_ones_end(tmp_path, encoder, decoder, monkeypatch):
    decoder()
    monkeypatch.setattr(decoders, "IDLE_SECONDS", 0.05)
    decoded(draw_photos(tmp_path, 4), encoder)
    assert decoders._idle._timer is not None
    decoders._idle._timer.join(60)
    assert decoders._idle._processes == []


def test_one_that_died_while_it_waited_is_replaced(tmp_path, encoder, decoder):
    decoder()
    paths = draw_photos(tmp_path, 6)
    decoded(paths, encoder)
    for process in decoders._idle._processes:
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
    assert all(each.failure is None for each in decoded(paths, encoder))
