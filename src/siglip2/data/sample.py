"""One captioned picture as it lies in a shard: captions with languages, boxes with phrases."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tiff", "tif")

UNKNOWN_LANGUAGE = "und"
"""BCP 47 for a language that nobody has determined."""


@dataclass(frozen=True)
class Caption:
    """A text and its language, such as `en`; None where it has yet to be identified."""

    text: str
    language: str | None = None


@dataclass(frozen=True)
class Box:
    """A part of a picture and what it shows.

    Attributes:
        box: x0, y0, x1, y1 in shares of the picture, turned upright as its EXIF orientation says.
        phrase: what is there.
        score: of the detector that found it; None where people drew it.
    """

    box: tuple[float, float, float, float]
    phrase: str
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Description:
    """The json of a sample.

    Attributes:
        captions: texts about the whole picture.
        regions: boxes with phrases.
        source: where the picture came from, for people.
        other: further entries of the json, kept as they are.
    """

    captions: tuple[Caption, ...]
    regions: tuple[Box, ...] = ()
    source: str = ""
    other: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self, key: str) -> bytes:
        """What is written into the shard."""
        entry = {
            **self.other,
            "key": key,
            "source": self.source,
            "captions": [{"text": each.text, "language": each.language} for each in self.captions],
            "regions": [
                {"box": [round(value, 5) for value in each.box], "phrase": each.phrase}
                | ({} if each.score is None else {"score": round(each.score, 4)})
                for each in self.regions
            ],
        }
        return json.dumps(entry, ensure_ascii=False).encode()


def image_of(files: Mapping[str, bytes]) -> tuple[str, bytes] | None:
    """Extension and bytes of a sample's picture; None where it has none."""
    for extension in IMAGE_EXTENSIONS:
        if extension in files:
            return extension, files[extension]
    return None


def describe(files: Mapping[str, bytes]) -> Description:
    """Read the captions of a WebDataset sample, whoever wrote it.

    Understood are this package's own json, captions by language (`{"en": ["a dog"]}`), the json of
    img2dataset (`caption`, `key`, `url`), and a `txt` beside the picture.

    Raises:
        ValueError: the json is none, holds half a character, or its captions have another form.
    """
    entry = json.loads(files["json"]) if "json" in files else {}
    if not isinstance(entry, dict):
        raise ValueError("its json is not an object")
    _refuse_half_characters(json.dumps(entry, ensure_ascii=False))
    captions = captions_of(entry.get("captions", entry.get("caption")), entry.get("language"))
    if not captions and "txt" in files:
        captions = captions_of(files["txt"].decode("utf-8").strip())
    known = {"captions", "caption", "language", "regions", "key", "source"}
    return Description(
        captions=captions,
        regions=tuple(_box(each) for each in entry.get("regions") or ()),
        source=str(entry.get("source") or entry.get("url") or ""),
        other={name: value for name, value in entry.items() if name not in known},
    )


def captions_of(value: Any, language: Any = None) -> tuple[Caption, ...]:
    """Captions from a text, a list of them, or an object that lists them by language.

    Raises:
        ValueError: another form, half a character, or a language that is no text.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        if not isinstance(language, str | None):
            raise ValueError(f"a language is {language!r}; expected a code such as en")
        _refuse_half_characters(value + (language or ""))
        return (Caption(value.strip(), language),) if value.strip() else ()
    if isinstance(value, Mapping) and "text" in value:
        return captions_of(value["text"], value.get("language"))
    if isinstance(value, Mapping):
        # A name such as de_mt30k says where the translation is from; the language comes before the mark.
        return tuple(
            each
            for name, texts in value.items()
            for each in captions_of(texts, name.replace("_", "-").split("-")[0])
        )
    if isinstance(value, list | tuple):
        return tuple(each for one in value for each in captions_of(one, language))
    raise ValueError(f"captions of the type {type(value).__name__}")


def printable(name: str) -> str:
    """The name of a file for tables and messages: names need not be valid text, these have to be."""
    return name.encode("utf-8", "backslashreplace").decode()


def _refuse_half_characters(text: str) -> None:
    """JSON can spell one half of a surrogate pair, which no file in UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 20) : error.end + 20]
        raise ValueError(f"half a character (a lone surrogate) in {around!r}") from None


def _box(entry: Any) -> Box:
    try:
        x0, y0, x1, y1 = (float(value) for value in entry["box"])
        phrase, score = str(entry["phrase"]), entry.get("score")
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"a region is {entry!r}; expected box and phrase") from None
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise ValueError(f"box {entry['box']} is not x0, y0, x1, y1 in shares of the picture")
    return Box((x0, y0, x1, y1), phrase, None if score is None else float(score))
