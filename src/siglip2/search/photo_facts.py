"""Size, date, place and camera of a photo, from its header."""

import io
import math
import re
from typing import Any

from PIL import ExifTags, Image

from siglip2.inputs.heic import is_heic, register_heic
from siglip2.inputs.quiet import quiet_pillow
from siglip2.search.rows import NO_FACTS, PhotoFacts

_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


def read_facts(data: bytes) -> PhotoFacts:
    """What a file's header says; nothing where it is damaged, which decoding the pixels will report."""
    try:
        with quiet_pillow():
            if is_heic(data):
                register_heic("photo")
            with Image.open(io.BytesIO(data)) as picture:
                return _facts(picture)
    except Exception:  # Pillow raises nearly anything on damaged headers
        return NO_FACTS


def _facts(picture: Image.Image) -> PhotoFacts:
    width, height = picture.size
    try:
        exif = picture.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    except Exception:  # a damaged block of EXIF; the size is still right
        return PhotoFacts(width=width, height=height)
    if exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
        width, height = height, width
    taken = details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
    gps = ExifTags.GPS
    latitude = _degrees(place.get(gps.GPSLatitude), place.get(gps.GPSLatitudeRef), "S", 90)
    longitude = _degrees(place.get(gps.GPSLongitude), place.get(gps.GPSLongitudeRef), "W", 180)
    return PhotoFacts(
        width=width,
        height=height,
        taken_at=_date(taken),
        latitude=latitude if longitude is not None else None,
        longitude=longitude if latitude is not None else None,
        camera=_camera(exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model)),
    )


def _date(value: Any) -> str | None:
    match = _DATE.match(str(value or ""))
    if match is None or match[1] == "0000":
        return None
    return f"{match[1]}-{match[2]}-{match[3]} {match[4]}:{match[5]}:{match[6]}"


def _degrees(value: Any, direction: Any, negative: str, limit: int) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    result = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(result) or abs(result) > limit:
        return None
    return -result if str(direction).upper().startswith(negative) else result


def _camera(make: Any, model: Any) -> str | None:
    make, model = (str(part or "").replace("\0", "").strip() for part in (make, model))
    if make and not model.lower().startswith(make.lower().split(" ")[0]):
        model = f"{make} {model}".strip()
    return model.encode(errors="replace").decode() or None
