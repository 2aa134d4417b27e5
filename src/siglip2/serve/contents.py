"""Inputs of requests, in every client's spelling, as texts and image files."""

import asyncio
import base64
import binascii
import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from siglip2.serve.errors import ApiError, bad_request, too_large, unusable_image
from siglip2.serve.places import fetching, hold_bytes
from siglip2.serve.service import Service
from siglip2.serve.settings import ServeSettings

_DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w.+-]+=[\w.+-]*)*;base64,", re.IGNORECASE)
_SHOWN = 40

LONG_BASE64 = 1_000_000
"""Characters that are not decoded on the event loop: some milliseconds."""

MAX_DEPTH = 8
"""Of parts within parts; clients nest them twice."""

HOW = (
    'an image is {"image": "https://... or base64"} or {"type": "image_url", "image_url": {"url": "..."}}, '
    'a text is a string or {"text": "..."}'
)


@dataclass(frozen=True)
class TextInput:
    """A text and where it stands in the request."""

    text: str
    param: str


@dataclass(frozen=True)
class ImageInput:
    """An image's URL, data URL, base64 or uploaded file, and where it stands in the request."""

    source: str | bytes
    param: str


Content = TextInput | ImageInput


def parse_content(value: Any, param: str, *, strings_are_images: bool = False, depth: int = 0) -> Content:
    """One input.

    A string is a text unless it is a data URL of an image, or the request says that its strings are images: a
    text may well begin with `http`.

    Raises:
        ApiError: 400, if it is neither.
    """
    if depth > MAX_DEPTH:
        raise bad_request(f"The input is nested too deeply: {HOW}.", param)
    if isinstance(value, str):
        image = strings_are_images or _DATA_URL.match(value)
        return ImageInput(value, param) if image else TextInput(value, param)
    if isinstance(value, bytes):
        return ImageInput(value, param)
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return parse_parts(value, param, depth=depth + 1)
    if not isinstance(value, dict):
        raise bad_request(f"Expected an object or a string: {HOW}.", param)
    if "content" in value:
        return parse_content(value["content"], f"{param}.content", depth=depth + 1)
    for key in ("image", "image_url", "image_base64", "input_image"):
        if value.get(key) is not None:
            return _image(value[key], f"{param}.{key}")
    text = value.get("text")
    if isinstance(text, str):
        return TextInput(text, f"{param}.text")
    raise bad_request(f"Neither an image nor a text: {HOW}.", param)


def parse_parts(parts: Sequence[dict[str, Any]], param: str, *, depth: int = 0) -> Content:
    """The one content of a message's parts; an empty text beside an image counts for nothing.

    Raises:
        ApiError: 400, if there are several: the model has no vector for a text and an image together.
    """
    contents = [parse_content(part, f"{param}[{index}]", depth=depth + 1) for index, part in enumerate(parts)]
    full = [each for each in contents if isinstance(each, ImageInput) or each.text.strip()]
    if len(full) > 1:
        raise bad_request(
            "One input holds several texts or images. The model embeds each on its own: send them as inputs "
            "of their own.",
            param,
        )
    return full[0] if full else contents[0]


def check_counts(settings: ServeSettings, contents: Sequence[Content], param: str) -> None:
    """Hold a request to the limits.

    Raises:
        ApiError: 400, for none or too many inputs, an empty or a very long text.
    """
    if not contents:
        raise bad_request(f"No input given: {HOW}.", param, "missing")
    num_images = sum(isinstance(content, ImageInput) for content in contents)
    if num_images > settings.max_images:
        raise bad_request(f"{num_images} images; at most {settings.max_images} go in one request.", param)
    check_texts(settings, [content for content in contents if isinstance(content, TextInput)], param)


def check_texts(settings: ServeSettings, texts: Sequence[TextInput], param: str) -> None:
    """The limits of texts alone. Same errors as `check_counts`."""
    check_num_texts(settings, len(texts), param)
    for text in texts:
        if not text.text.strip():
            raise bad_request("The text is empty.", text.param)
        check_length(settings, text.text, text.param)


def check_num_texts(settings: ServeSettings, number: int, param: str) -> None:
    """Hold so many texts to the limit.

    Raises:
        ApiError: 400, for too many.
    """
    if number > settings.max_texts:
        raise bad_request(
            f"{number} texts; at most {settings.max_texts} go in one request.", param, "too_many_texts"
        )


def check_length(settings: ServeSettings, text: str, param: str) -> None:
    """Hold one text to the limit.

    Raises:
        ApiError: 400, for a very long one.
    """
    if len(text) > settings.max_text_characters:
        raise bad_request(f"The text has more than {settings.max_text_characters} characters.", param)


async def read_images(images: Sequence[ImageInput], service: Service) -> list[bytes]:
    """The files of images, fetched side by side.

    Raises:
        ApiError: see `Fetcher.fetch` and `hold_bytes`; 400 for bad base64, 413 for too many bytes.
    """
    fetched = any(_is_url(image.source) for image in images)
    try:
        with fetching() if fetched else nullcontext():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_caught(_read(image, service))) for image in images]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    files: list[bytes] = []
    for task in tasks:
        result = task.result()
        if isinstance(result, ApiError):
            raise result
        files.append(result)
    return files


async def _caught(reading: Any) -> bytes | ApiError:
    """The failure of one image as a value: the first in their order is told. Others end all reading."""
    try:
        return await reading
    except ApiError as error:
        if error.param is None:
            raise
        return error


def _is_url(source: str | bytes) -> bool:
    """Base64 has no colon, so that this can only be meant as a URL; the fetcher has the last word."""
    if isinstance(source, bytes) or source[:5].lower() == "data:":
        return False
    return ":" in source[:_SHOWN] or source.startswith("//")


async def _read(image: ImageInput, service: Service) -> bytes:
    if isinstance(image.source, str) and _is_url(image.source):
        return await service.fetcher.fetch(image.source, image.param, service.asked_by)
    data = await _inline(image, service)
    hold_bytes(len(data))
    return data


async def _inline(image: ImageInput, service: Service) -> bytes:
    source, most = image.source, service.fetcher.settings.max_bytes
    if isinstance(source, bytes):
        return _checked(source, image.param, most)
    if source[:5].lower() == "data:":
        header = _DATA_URL.match(source)
        if header is None:
            raise bad_request("The data URL must begin with data:image/...;base64, ", image.param)
        source = source[header.end() :]
    if len(source) < LONG_BASE64:
        return decode_base64(source, image.param, most)
    return await service.engine.in_decoder(lambda: decode_base64(source, image.param, most))


def decode_base64(text: str, param: str, max_bytes: int) -> bytes:
    """Bytes of base64, also with white space, without padding or in the URL-safe alphabet.

    Raises:
        ApiError: 413 for more than `max_bytes`, 400 for anything that is not base64, 422 for nothing.
    """
    if len(text) > 2 * max_bytes or math.floor(len(text) * 3 / 4) > 1.1 * max_bytes:
        raise too_large(f"The image has more than {max_bytes} bytes.", param, "image_too_large")
    try:
        # Most of it is as it should be.
        return _checked(binascii.a2b_base64(text, strict_mode=True), param, max_bytes)
    except (binascii.Error, ValueError):
        pass
    packed = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(
            "The image is neither valid base64 nor a URL that begins with https:// or http://.", param
        ) from None
    return _checked(data, param, max_bytes)


def _checked(data: bytes, param: str, max_bytes: int) -> bytes:
    if not data:
        raise unusable_image("The image is empty.", param)
    if len(data) > max_bytes:
        raise too_large(f"The image has more than {max_bytes} bytes.", param, "image_too_large")
    return data


def _image(value: Any, param: str) -> ImageInput:
    if isinstance(value, dict):  # OpenAI's {"url": ...}
        value = value.get("url")
        param = f"{param}.url"
    if not isinstance(value, str) or not value:
        raise bad_request("The image must be a string: a URL, a data URL or base64.", param)
    return ImageInput(value, param)
