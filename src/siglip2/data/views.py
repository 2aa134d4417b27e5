"""Views for self-distillation, made of decoded pictures; the randomness comes from a generator.

What is drawn for each picture comes first, from the processor's generator, so that a view is the same on any
device and any number of ranks; then one call shows all pictures, whatever their sources: beside a GPU it is
the number of calls that costs time.

The paper does not say: the augmentations. Crops, colours are SILC's, which are DINO's: global views of 40 to
100 % of the area, local ones of 5 to 40 %, flips, jitter of brightness, contrast and saturation at 80 %, grey
at 20 %, blur, and solarisation. Differs from DINO: no jitter of the hue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from siglip2.data.augment import apply_crops, draw_crops
from siglip2.data.share import Share

GLOBAL_AREA = (0.4, 1.0)
LOCAL_AREA = (0.05, 0.4)
JITTER = (0.4, 0.4, 0.2)  # brightness, contrast, saturation
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class Colours:
    """What is drawn for the colours of each picture.

    Attributes:
        factors: of brightness, contrast and saturation.
        changed: whose brightness, contrast and saturation are.
        grey: who loses its colours.
        blurred: who is blurred; None for nobody.
        solarised: whose bright parts are inverted; None for nobody.
    """

    factors: Float[Tensor, "B 3"]
    changed: Bool[Tensor, " B"]
    grey: Bool[Tensor, " B"]
    blurred: Bool[Tensor, " B"] | None = None
    solarised: Bool[Tensor, " B"] | None = None

    def of(self, rows: Int[Tensor, " R"]) -> "Colours":
        """Those of some pictures."""
        chosen: dict[str, Any] = {
            field.name: None if (drawn := getattr(self, field.name)) is None else drawn[rows]
            for field in fields(Colours)
        }
        return Colours(**chosen)

    @staticmethod
    def of_all(parts: "Sequence[Colours]") -> "Colours":
        """Those of several sources, one after the other, drawn alike."""
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Colours)}
        joined: dict[str, Any] = {
            name: None if column[0] is None else torch.cat(column) for name, column in columns.items()
        }
        return Colours(**joined)


def draw_colours(
    share: Share,
    generator: torch.Generator,
    *,
    changed: float = 0.8,
    grey: float = 0.2,
    blur: float = 0.0,
    solarise: float = 0.0,
) -> Colours:
    """Draw them.

    Args:
        share: which part of a global batch the pictures are.
        generator: of everything random.
        changed: share of the pictures in other colours.
        grey: share of those without.
        blur: share of those blurred.
        solarise: share of those solarised.
    """

    def chosen(probability: float) -> Tensor:
        return share.rand(generator=generator) < probability

    return Colours(
        factors=1 + (2 * share.rand(3, generator=generator) - 1) * torch.tensor(JITTER),
        changed=chosen(changed),
        grey=chosen(grey),
        blurred=chosen(blur) if blur else None,
        solarised=chosen(solarise) if solarise else None,
    )


def colour(pixels: Float[Tensor, "B 3 H W"], colours: Colours) -> Float[Tensor, "B 3 H W"]:
    """Pictures in [-1, 1] in the colours drawn for them."""

    def where(chosen: Tensor) -> Tensor:
        return chosen.to(pixels.device, non_blocking=True)[:, None, None, None]

    pixels = (pixels + 1) / 2
    pixels = torch.where(where(colours.changed), _jittered(pixels, colours.factors), pixels)
    pixels = torch.where(where(colours.grey), _luminance(pixels).expand_as(pixels), pixels)
    if colours.blurred is not None:
        pixels = torch.where(where(colours.blurred), _blurred(pixels), pixels)
    if colours.solarised is not None:
        inverted = torch.where(pixels >= 0.5, 1 - pixels, pixels)
        pixels = torch.where(where(colours.solarised), inverted, pixels)
    return pixels.clamp(0, 1) * 2 - 1


def random_views(
    images: UInt8[Tensor, "B S S 3"],
    shares: Sequence[Share],
    generator: torch.Generator,
    *,
    size: int,
    area: tuple[float, float],
    flips: Sequence[bool],
    solarise: float = 0.0,
    blur: float = 0.5,
) -> Float[Tensor, "B 3 R R"]:
    """A cropped and coloured view of every image, in [-1, 1].

    Args:
        images: decoded pictures, of one source after the other.
        shares: for each source, which part of its global batch its pictures are.
        generator: of everything random.
        size: pixels a side.
        area: smallest and largest share of the picture.
        flips: for each source, whether mirrored pictures mean the same.
        solarise: share of the views that are solarised.
        blur: share of the views that are blurred.
    """
    crops, colours = [], []
    for share, flip in zip(shares, flips, strict=True):
        crops.append(draw_crops(share, generator, min_area=area[0], max_area=area[1], flip=flip))
        colours.append(draw_colours(share, generator, blur=blur, solarise=solarise))
    return colour(apply_crops(images, torch.cat(crops), (size, size)), Colours.of_all(colours))


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Which part of another picture is laid into each (CutMix, arXiv 1905.04899).

    Attributes:
        other: row of the other picture; a picture's own where nothing is laid into it.
        boxes: x0, y0, x1, y1 of the part, in shares of the view.
    """

    other: Int[Tensor, " B"]
    boxes: Float[Tensor, "B 4"]

    def hides(self, row: int, box: Sequence[float]) -> bool:
        """Whether more than half of a box of a view, in shares of it, lies under what is laid into it."""
        if int(self.other[row]) == row:
            return False
        x0, y0, x1, y1 = self.boxes[row].tolist()
        under = max(0.0, min(x1, box[2]) - max(x0, box[0])) * max(0.0, min(y1, box[3]) - max(y0, box[1]))
        return under > 0.5 * (box[2] - box[0]) * (box[3] - box[1])


def draw_mixing(count: int, generator: torch.Generator, *, probability: float) -> Mixing:
    """Parts of a fifth to a half of the area with the picture's own shape, somewhere.

    Args:
        count: pictures.
        generator: of everything random.
        probability: share of the pictures into which something is laid.
    """
    drawn = torch.rand(4, count, generator=generator)
    other = torch.randperm(count, generator=generator)
    side = (0.2 + 0.3 * drawn[0]).sqrt()
    left, top = (place * (1 - side) for place in (drawn[2], drawn[1]))
    return Mixing(
        other=torch.where(drawn[3] < probability, other, torch.arange(count)),
        boxes=torch.stack([left, top, left + side, top + side], dim=1),
    )


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Pictures as the losses see them, for models of any size.

    Attributes:
        pictures: as they are held.
        crops: affine maps from view to picture.
        colours: to give them; None for their own.
        mixing: what is laid into them; None for nothing.
    """

    pictures: UInt8[Tensor, "B S S 3"]
    crops: Float[Tensor, "B 2 3"]
    colours: Colours | None = None
    mixing: Mixing | None = None

    def at(self, side: int, rows: Sequence[int] | None = None) -> Float[Tensor, "R 3 side side"]:
        """Squares of so many pixels a side, in [-1, 1]; of some rows, or of all."""
        chosen = torch.arange(len(self.crops)) if rows is None else torch.tensor(rows, dtype=torch.long)
        pixels = self._whole(side, None if rows is None else chosen)
        if self.mixing is None:
            return pixels
        other = self.mixing.other[chosen]
        laid = pixels[other.to(pixels.device)] if rows is None else self._whole(side, other)
        inside = (other != chosen)[:, None, None].to(pixels.device, non_blocking=True)
        edges = (self.mixing.boxes[chosen] * side).round()
        bounds = edges.T.to(pixels.device, non_blocking=True)[..., None]
        # Where the pictures are: a mask of every pixel is slow to make beside a GPU.
        at = torch.arange(side, device=pixels.device)
        for first, last, axis in ((bounds[1], bounds[3], 2), (bounds[0], bounds[2], 1)):
            inside = inside & ((at >= first) & (at < last)).unsqueeze(axis)
        return torch.where(inside[:, None], laid, pixels)

    def _whole(self, side: int, rows: Int[Tensor, " R"] | None) -> Tensor:
        """Cut and coloured, before anything is laid into them."""
        pictures, crops, colours = self.pictures, self.crops, self.colours
        if rows is not None:
            pictures, crops = pictures[rows.to(pictures.device)], crops[rows]
            colours = None if colours is None else colours.of(rows)
        pixels = apply_crops(pictures, crops, (side, side))
        return pixels if colours is None else colour(pixels, colours)


def _luminance(pixels: Tensor) -> Tensor:
    # Not a product with a tensor of weights, which would have to be sent to a GPU and waited for.
    red, green, blue = (pixels[:, index] * weight for index, weight in enumerate(GREY))
    return (red + green + blue)[:, None]


def _jittered(pixels: Tensor, factors: Float[Tensor, "B 3"]) -> Tensor:
    """Other brightness, contrast and saturation."""
    brightness, contrast, saturation = factors.to(pixels.device, non_blocking=True).T[..., None, None, None]
    changed = pixels * brightness
    mean = _luminance(changed).mean(dim=(2, 3), keepdim=True)
    changed = mean + (changed - mean) * contrast
    grey = _luminance(changed)
    return (grey + (changed - grey) * saturation).clamp(0, 1)


def _blurred(pixels: Tensor) -> Tensor:
    """A binomial filter of five by five."""
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=pixels.device) / 16
    kernel = (row[:, None] * row[None]).expand(3, 1, 5, 5)
    return F.conv2d(F.pad(pixels, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)
