"""Pictures that have broken other servers: answered or refused over HTTP, and the service lives on."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.tiny_model import random_photo

PHOTO = Image.fromarray(random_photo(3, 48, 64))


def file(image_format, picture=PHOTO, **options):
    out = io.BytesIO()
    picture.save(out, image_format, **options)
    return out.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, *more):
    """A PNG whose header says a size; of its pixels there is one row."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    row = zlib.compress(bytes(1 + 3 * min(width, 64)))
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", row), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_chunk(data):
    """A sound PNG with one more chunk behind its header."""
    whole = file("PNG")
    return whole[:33] + data + whole[33:]


def gif(frames):
    """A GIF of one pixel and many frames."""
    head = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    control = b"!\xf9\x04\x00\x01\x00\x00\x00"
    frame = b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00"
    return head + (control + frame) * frames + b";"


def tiff(width, height):
    """A TIFF whose tags say a size, without pixels."""
    sizes = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1)]
    tags = [*sizes, (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 64)]
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\x00\x08\x00\x00\x00" + body + bytes(4)


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file("JPEG", exif=exif)


def webp(width, height):
    """An extended WebP whose canvas is as large as its header can say, or as told."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    content = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + file("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(content)) + content


DEEP = Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64))
PALETTE = PHOTO.convert("P")
GOOD = {
    "one pixel": file("PNG", Image.new("RGB", (1, 1))),
    "one pixel wide": file("PNG", Image.new("RGB", (1, 16_384))),
    "one pixel high": file("PNG", Image.new("RGB", (16_384, 1))),
    "CMYK": file("JPEG", PHOTO.convert("CMYK")),
    "16 bits": file("PNG", DEEP),
    "palette with transparency": file("PNG", PALETTE, transparency=3),
    "grey with alpha": file("PNG", PHOTO.convert("LA")),
    "progressive": file("JPEG", progressive=True),
    "10,000 frames": gif(10_000),
    "a photo and a page behind it": file("JPEG")
    + b"<html><script>alert(1)</script></html>"
    + b"PK\x03\x04" * 9,
    **{f"EXIF orientation {number}": oriented(number) for number in range(1, 9)},
}
BAD = {
    "PNG bomb": png(60_000, 60_000),
    "GIF bomb": b"GIF89a\xff\xff\xff\xff" + gif(1)[10:],
    "WebP bomb": webp(2**24, 2**24),
    "TIFF bomb": tiff(60_000, 60_000),
    "BMP bomb": b"BM" + struct.pack("<IIIIiiHH6I", 64, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
    "cut JPEG": file("JPEG")[:700],
    "cut PNG": file("PNG")[:200],
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) run\n",
    "PDF": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>",
    "FITS": b"SIMPLE  =                    T".ljust(2880),
    "page": b"<!doctype html><img src=x>",
    "nothing": b"\0" * 100,
}  # fmt: skip
GROWING = zlib.compress(bytes(50_000_000))
EITHER = {
    "text that grows": with_chunk(chunk(b"zTXt", b"a\0\0" + GROWING)),
    "international text that grows": with_chunk(chunk(b"iTXt", b"a\0\1\0\0\0" + GROWING)),
    "colour profile of 5 MB": with_chunk(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(5_000_000)))),
    "a document and a photo behind it": b"%PDF-1.4\n" + file("JPEG"),
}  # fmt: skip


def ask(client, data):
    body = {"input": base64.b64encode(data).decode(), "labels": ["cat", "dog"]}
    return client.post("/v1/classify", json=body)


@pytest.mark.parametrize("name", GOOD)
def test_odd_pictures_are_answered(client, name):
    answer = ask(client, GOOD[name])
    assert answer.status_code == 200, answer.text
    scores = answer.json()["data"][0]["probs"]
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_usable_picture_is_refused(client, name):
    answer = ask(client, BAD[name])
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] == "image_decode_failed"
    assert not any(word in answer.text for word in ("0x", "/", "PIL", "Traceback"))


@pytest.mark.parametrize("name", EITHER)
def test_what_may_be_either_ends_well(client, name):
    assert ask(client, EITHER[name]).status_code in (200, 422)
    assert client.get("/health").status_code == 200


def test_photos_are_turned_upright(client):
    """All eight orientations are of one photo; what the camera stored turned is not another picture."""
    upright = ask(client, file("JPEG")).json()["data"][0]["probs"]
    assert ask(client, oriented(1)).json()["data"][0]["probs"] == upright
    assert ask(client, oriented(3)).json()["data"][0]["probs"] != upright


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: "\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
        lambda text: f" {text}\r\n",
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: text.rstrip("="),
        lambda text: f"data:image/png;base64,{text}",  # the wrong type: what the bytes are decides
        lambda text: f"data:image/jpeg;charset=utf-8;base64,{text}",
    ],
)
def test_every_spelling_of_base64(client, spell):
    text = base64.b64encode(file("JPEG")).decode()
    labels = ["cat", "dog"]
    plain = client.post("/v1/classify", json={"input": text, "labels": labels}).json()["data"]
    again = client.post("/v1/classify", json={"input": spell(text), "labels": labels})
    assert again.json()["data"] == plain


@pytest.mark.parametrize("text", ["A", "AAAA=AAA", "AAAA====A", "AA==AA==", "¡AAA", "AAA\0", "%41AAA"])
def test_what_is_no_base64(client, text):
    answer = client.post("/v1/classify", json={"input": text, "labels": ["cat"]})
    assert (answer.status_code, answer.json()["error"]["code"]) in (
        (400, "invalid_value"),
        (422, "image_decode_failed"),
    )


def test_huge_fields(client):
    """Refused by their number and length, not worked on."""
    photo = base64.b64encode(file("JPEG")).decode()
    for labels, code in (
        ([f"label {number}" for number in range(100_000)], "too_many_labels"),
        (["x" * 1_000_000], "invalid_value"),
    ):
        answer = client.post("/v1/classify", json={"input": photo, "labels": labels})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    many = "A" * (28 * 1024**2)  # 21 MB in base64, of which 20 are allowed
    answer = client.post("/v1/classify", json={"input": many, "labels": ["cat"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "image_too_large")
