"""Pictures in the terminal: through the library where the terminal can, nothing elsewhere."""

import os
import sys
import threading

import pytest

from siglip2.cli.thumbnails import print_picture, terminal_printer

textual_image = pytest.importorskip("textual_image")


def test_pictures_are_printed(collection, photos, capsys):
    from textual_image.renderable import SixelImage, TGPImage

    collection.add([photos])
    row = collection.search("a dog", limit=1)[0].row
    print_picture(SixelImage, row)
    assert "\x1bP0;0;0q" in capsys.readouterr().out
    print_picture(TGPImage, row)
    assert "\U0010eeee" in capsys.readouterr().out
    os.unlink(row.paths[0])
    print_picture(SixelImage, row)
    assert capsys.readouterr().out == ""


def test_nothing_where_no_terminal_is():
    assert terminal_printer() is None


ASK = "from siglip2.cli.thumbnails import terminal_printer; print('can', terminal_printer() is not None)"


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo terminals")
@pytest.mark.parametrize(("answer", "can"), [(b"\x1b[?62;4;22c", "True"), (b"\x1b[?62;22c", "False")])
def test_the_terminal_is_asked(answer, can):
    """A pseudo terminal that says what it can, as xterm does: 4 stands for sixels."""
    import pty
    import subprocess

    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", ASK], stdin=slave, stdout=slave) as process:
        os.close(slave)
        patience = threading.Timer(60, process.kill)
        patience.start()
        said = b""
        try:
            while b"can " not in said or not said.endswith(b"\n"):
                said += os.read(master, 1024)
                if b"\x1b[c" in said:
                    said = said.replace(b"\x1b[c", b"")
                    os.write(master, answer)
        except OSError:  # the other end has closed
            pass
        patience.cancel()
    os.close(master)
    assert f"can {can}".encode() in said
