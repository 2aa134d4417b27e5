"""Every kind of source, format and colour mode as upright RGB."""

import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from siglip2.errors import InvalidImage
from siglip2.inputs import decode as decoding
from siglip2.inputs import heic, limits
from siglip2.inputs.decode import decode, load_image
from siglip2.inputs.limits import MAX_JPEG_SCANS
from siglip2.inputs.quiet import quiet_pillow

FILES = Path(__file__).parent / "files"  # a HEIC drawn for these tests: 96x64, red, the left third blue


def drawn(width: int = 96, height: int = 64) -> Image.Image:
    """Red, with a blue left third and a green bar at the top."""
    picture = Image.new("RGB", (width, height), (200, 30, 30))
    picture.paste((20, 40, 220), (0, 0, width // 3, height))
    picture.paste((10, 200, 40), (0, 0, width, height // 8))
    return picture


def saved(picture: Image.Image, image_format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, image_format, **options)
    return file.getvalue()


def close(ours: Image.Image, wanted: Image.Image, tolerance: float = 3.0) -> bool:
    assert ours.mode == "RGB"
    assert ours.size == wanted.size
    return bool(np.abs(np.asarray(ours, int) - np.asarray(wanted, int)).mean() <= tolerance)


def test_every_kind_of_source(tmp_path):
    data = saved(drawn(), "PNG")
    path = tmp_path / "drawn.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), file]
        sources += [drawn(), np.asarray(drawn())]
        for source in sources:
            assert close(load_image(source), drawn(), 0), type(source)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO"])
def test_every_format(image_format):
    if image_format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    assert close(load_image(saved(drawn(), image_format)), drawn())


def test_heic_through_the_plugin():
    pytest.importorskip("pi_heif")
    photo = load_image(FILES / "drawn.heic")
    assert photo.size == (96, 64)
    assert photo.getpixel((5, 40))[2] > 150  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]
    assert photo.getpixel((80, 40))[0] > 150  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]


def test_heic_without_the_plugin_names_the_extra(monkeypatch):
    monkeypatch.setattr(heic, "_PLUGINS", ("no_such_plugin",))
    with pytest.raises(InvalidImage, match=r"drawn\.heic.*siglip2\[heic\]"):
        load_image(FILES / "drawn.heic")


def test_formats_off_the_list_are_refused():
    for image_format in ("PPM", "ICO", "PCX"):
        with pytest.raises(InvalidImage, match="format"):
            load_image(saved(drawn(), image_format))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("image_format", "size"), [("JPEG", 64), ("PNG", 64), ("WEBP", 64), ("TIFF", 64), ("JPEG", 640)]
)
def test_exif_orientation(orientation, image_format, size):
    upright = drawn(size * 3 // 2, size)
    # What a camera would have stored: the inverse of the turn that the tag asks for.
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(inverse[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(stored, image_format, exif=exif)
    assert close(load_image(data), upright, 4)
    assert close(load_image(load_image(data)), upright, 4)  # upright already
    reduced = decode(data, target=31)
    assert (reduced.height, reduced.width) == (size, size * 3 // 2)
    if size == 640 and image_format == "JPEG":
        # 4 is the largest reduction that leaves 5.1 times the target on the short side.
        assert reduced.picture.size == (240, 160)
    small = reduced.picture.resize((30, 20), box=reduced.box)
    assert close(small, upright.resize((30, 20)), 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_box_of_a_reduced_picture_turns_with_it(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (1203, 805)  # no multiples of 8
    reduced = decode(saved(Image.new("RGB", size), "JPEG", exif=exif), target=19)
    assert reduced.box is not None
    left, top, right, bottom = reduced.box
    sideways = orientation >= 5
    assert (right - left, bottom - top) == ((805 / 8, 1203 / 8) if sideways else (1203 / 8, 805 / 8))
    # The part that no pixel of the photo covers was at the right and at the bottom before the turn.
    assert (left > 0) == (orientation in (2, 3, 7, 6))
    assert (top > 0) == (orientation in (3, 4, 7, 8))


def test_damaged_exif_leaves_the_photo_as_it_stands():
    data = saved(drawn(), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\x07" * 30)
    assert close(load_image(data), drawn())


def test_scaled_decoding_can_be_switched_off():
    data = saved(drawn(1600, 1200), "JPEG")
    assert load_image(data, target=(58, 58)).size == (400, 300)
    assert load_image(data, target=lambda height, width: (height // 21, width // 21)).size == (400, 300)
    assert load_image(data, target=100, scaled_decoding=False).size == (1600, 1200)
    assert load_image(data).size == (1600, 1200)
    assert load_image(saved(drawn(1600, 1200), "PNG"), target=100).size == (1600, 1200)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "PA", "RGBA", "RGBa", "La"]
)
def test_every_colour_mode(mode):
    through = {"RGBa": "RGBA", "La": "LA", "PA": "RGBA", "LA": "L"}.get(mode)
    picture = drawn().convert(through) if through else drawn()
    if mode in ("P", "PA"):
        picture = picture.convert("RGB").quantize(8)
        picture = picture.convert(mode)
    elif mode == "La":
        picture = picture.convert("LA").convert("La")
    else:
        picture = picture.convert(mode)
    grey = mode in ("L", "LA", "La")
    wanted = drawn().convert("L").convert("RGB") if grey else drawn()
    ours = load_image(picture)
    if mode == "1":
        assert set(np.unique(np.asarray(ours))) <= {0, 255}
    else:
        assert close(ours, wanted)


def test_lab():
    lab = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (255, 128, 128)])
    assert np.asarray(load_image(lab)).min() > 240


def test_alpha_is_laid_over_white():
    rgba = Image.new("RGBA", (10, 4), (0, 0, 0, 0))
    rgba.paste((255, 0, 0, 255), (0, 0, 5, 4))
    rgba.paste((0, 0, 0, 128), (9, 0, 10, 4))
    for source in (rgba, saved(rgba, "PNG"), np.asarray(rgba), saved(rgba, "WEBP", lossless=True)):
        pixels = np.asarray(load_image(source))
        assert pixels[0, 0].tolist() == [255, 0, 0]
        assert pixels[0, 7].tolist() == [255, 255, 255]
        assert pixels[0, 9].tolist() == [127, 127, 127]
    palette = drawn().convert("P")
    clear = palette.getpixel((0, 20))
    pixels = np.asarray(load_image(saved(palette, "PNG", transparency=clear)))
    assert pixels[20, 0].tolist() == [255, 255, 255]
    keyed = saved(drawn(), "PNG", transparency=(20, 40, 220))
    assert np.asarray(load_image(keyed))[20, 0].tolist() == [255, 255, 255]


def test_large_pictures_are_composited_in_strips(monkeypatch):
    from siglip2.inputs import colour

    rgba = Image.merge("RGBA", [Image.effect_noise((70, 50), 90) for _ in range(4)])
    whole = np.asarray(load_image(rgba))
    monkeypatch.setattr(colour, "_STRIP_PIXELS", 70 * 7)
    np.testing.assert_array_equal(np.asarray(load_image(rgba)), whole)


def test_sixteen_bit_and_float_pictures():
    values = np.array([[0, 128, 129, 257 * 100, 65535]], np.uint16)
    wanted = [0, 0, 1, 100, 255]
    for source in (values, Image.fromarray(values), saved(Image.fromarray(values), "PNG")):
        assert np.asarray(load_image(source))[0, :, 0].tolist() == wanted
    assert np.asarray(load_image(Image.fromarray(values.astype(np.int32))))[0, :, 1].tolist() == wanted
    floats = (np.array(wanted, np.float32) / 255)[None]
    for source in (floats, floats.astype(np.float64), Image.fromarray(floats)):
        assert np.asarray(load_image(source))[0, :, 2].tolist() == wanted


def test_arrays():
    rgb = np.asarray(drawn())
    assert close(load_image(rgb / 255), drawn(), 0)
    assert close(load_image(rgb[..., :1]), drawn().getchannel("R").convert("RGB"), 0)
    assert np.asarray(load_image(rgb[::-1, ::2]))[0, 0].tolist() == rgb[-1, 0].tolist()
    assert np.asarray(load_image(np.eye(3, dtype=bool)))[..., 0].tolist() == (np.eye(3) * 255).tolist()


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((0, 5, 3), np.uint8), "no pixel"),
        (np.zeros((3, 20, 20), np.uint8), "channels last"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.full((4, 4), 200.0), "within 0..1"),
        (np.full((4, 4), np.nan), "within 0..1"),
        (np.full((4, 4), "a"), "<U1"),
    ],
)
def test_arrays_that_are_no_images(array, sentence):
    with pytest.raises(InvalidImage, match=sentence):
        load_image(array)


def test_animations_give_their_first_frame():
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    for image_format in ("GIF", "WEBP", "PNG", "TIFF"):
        data = saved(frames[0], image_format, save_all=True, append_images=frames[1:])
        assert close(load_image(data), frames[0]), image_format


def test_sources_that_are_no_files(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    text = tmp_path / "text.jpg"
    text.write_text("not an image at all")
    cases = [
        (tmp_path / "missing.jpg", "missing.jpg cannot be read: No such file"),
        (tmp_path, "is a folder"),
        (pipe, "pipe.jpg is not a regular file"),
        (empty, "empty.jpg is empty"),
        (text, "text.jpg is not an image"),
        ("a\0b", "cannot be read"),
        (b"", "empty"),
        (None, "NoneType"),
        (3, "int"),
        (io.StringIO("text"), "binary mode"),
    ]
    for source, sentence in cases:
        with pytest.raises(InvalidImage, match=sentence):
            load_image(source)


def test_cut_off_photos_name_the_file(tmp_path):
    for image_format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        data = saved(Image.effect_noise((64, 64), 50).convert("RGB"), image_format)
        path = tmp_path / f"half.{image_format.lower()}"
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(InvalidImage, match=path.name):
            load_image(path)


def test_bombs_are_refused_before_they_are_decoded(monkeypatch):
    data = saved(Image.new("1", (300, 300)), "PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InvalidImage, match="300x300 pixels, more than the limit of 80,000"):
        load_image(data, max_pixels=80_000)
    monkeypatch.undo()
    assert load_image(data, max_pixels=90_000).size == (300, 300)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InvalidImage, match="MAX_IMAGE_PIXELS"):
        load_image(data)


def test_the_limit_counts_what_scaled_decoding_leaves(monkeypatch):
    photo = Image.new("RGB", (800, 800))
    baseline, progressive = saved(photo, "JPEG"), saved(photo, "JPEG", progressive=True)
    assert load_image(baseline, target=19, max_pixels=200_000).size == (100, 100)
    for data, target in ((baseline, None), (progressive, 50), (baseline, 400)):
        with pytest.raises(InvalidImage, match="limit"):
            load_image(data, max_pixels=200_000, target=target)
    monkeypatch.setattr(limits, "MAX_SCANNED_PIXELS", 0)
    with pytest.raises(InvalidImage, match="scans over 800x800"):
        load_image(progressive + b"\xff\xda" * 20, max_pixels=640_000)
    monkeypatch.undo()
    with pytest.raises(InvalidImage, match="scans"):
        load_image(progressive + b"\xff\xda" * MAX_JPEG_SCANS)


def test_no_warning_leaks_and_no_filter_stays(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)  # drawn() is beyond it: Pillow warns
    data = saved(drawn(), "PNG")
    before = list(warnings.filters)
    failures = []

    def read() -> None:
        try:
            for _ in range(20):
                load_image(data)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(warnings.filters) == before
    with quiet_pillow(), pytest.raises(UserWarning):
        warnings.warn("of somebody else", stacklevel=1)
    with pytest.raises(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))


def test_the_callers_picture_stays_as_it_is():
    picture = drawn().convert("RGBA")
    before = picture.tobytes()
    load_image(picture, target=8)
    assert picture.mode == "RGBA"
    assert picture.tobytes() == before
    assert load_image(rgb := drawn()) is rgb


def test_an_unforeseen_exception_of_a_decoder_becomes_invalid_image(monkeypatch):
    def broken(*args, **options):
        raise KeyError("tile")

    monkeypatch.setattr(decoding.Image, "open", broken)
    with pytest.raises(InvalidImage, match="the image of 3 bytes"):
        load_image(b"abc")
