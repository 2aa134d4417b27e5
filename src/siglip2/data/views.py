"""Views for self-distillation, made of decoded pictures; the randomness comes from a generator.

The paper does not say: the augmentations. Crops, colours are SILC's, which are DINO's: global views of 40 to
100 % of the area, local ones of 5 to 40 %, flips, jitter of brightness, contrast and saturation at 80 %, grey
at 20 %, blur, and solarisation. Differs from DINO: no jitter of the hue.
"""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from siglip2.data.augment import random_crop_and_flip
from siglip2.data.share import Share

GLOBAL_AREA = (0.4, 1.0)
LOCAL_AREA = (0.05, 0.4)
JITTER = (0.4, 0.4, 0.2)  # brightness, contrast, saturation
GREY = (0.299, 0.587, 0.114)


def random_view(
    images: UInt8[Tensor, "B S S 3"],
    generator: torch.Generator,
    *,
    size: int,
    area: tuple[float, float],
    flip: bool = True,
    solarise: float = 0.0,
    blur: float = 0.5,
    share: Share | None = None,
) -> Float[Tensor, "B 3 R R"]:
    """A cropped and coloured view of every image, in [-1, 1].

    Args:
        images: decoded pictures.
        generator: of everything random.
        size: pixels a side.
        area: smallest and largest share of the picture.
        flip: whether mirrored pictures mean the same.
        solarise: share of the views that are solarised.
        blur: share of the views that are blurred.
        share: which part of a global batch the images are; None for all of it.
    """
    share = share or Share.of(len(images))
    cropped = random_crop_and_flip(
        images, generator, min_area=area[0], max_area=area[1], flip=flip, size=size, share=share
    )
    pixels = _jitter((cropped + 1) / 2, generator, share, 0.8)
    pixels = _grey(pixels, generator, share, 0.2)
    pixels = torch.where(_chosen(share, blur, generator, pixels), _blurred(pixels), pixels)
    if solarise:
        inverted = torch.where(pixels >= 0.5, 1 - pixels, pixels)
        pixels = torch.where(_chosen(share, solarise, generator, pixels), inverted, pixels)
    return pixels.clamp(0, 1) * 2 - 1


def coloured(
    pixels: Float[Tensor, "B 3 H W"], generator: torch.Generator, *, probability: float, share: Share
) -> Float[Tensor, "B 3 H W"]:
    """Pictures in [-1, 1], some of them in other colours, a quarter of these in grey.

    Args:
        pixels: of every picture.
        generator: of everything random.
        probability: of a picture to be changed.
        share: which part of a global batch the pictures are.
    """
    changed = _jitter((pixels + 1) / 2, generator, share, probability)
    return _grey(changed, generator, share, probability / 4).clamp(0, 1) * 2 - 1


def mixed(
    pixels: Float[Tensor, "B 3 H W"], generator: torch.Generator, *, probability: float
) -> tuple[Float[Tensor, "B 3 H W"], Int[Tensor, " B"]]:
    """Pictures into some of which a part of another is laid (CutMix, arXiv 1905.04899).

    The part is a rectangle of a fifth to a half of the area with the picture's own shape, somewhere.

    Returns:
        The pictures, and for each the row of the picture that is to be seen in it too, or its own.
    """
    count, _, height, width = pixels.shape
    drawn = torch.rand(4, count, generator=generator)
    other = torch.randperm(count, generator=generator)
    chosen = drawn[3] < probability
    rows = torch.where(chosen, other, torch.arange(count)).to(pixels.device)
    side = (0.2 + 0.3 * drawn[0]).sqrt()
    inside = chosen[:, None, None].to(pixels.device)
    for size, place, axis in ((height, drawn[1], 2), (width, drawn[2], 1)):
        begin = (place * (1 - side) * size).round()
        end = begin + (side * size).round()
        bounds = torch.stack([begin, end]).to(pixels.device)[..., None]
        # Where the pictures are: a mask of every pixel is slow to make beside a GPU.
        at = torch.arange(size, device=pixels.device)
        inside = inside & ((at >= bounds[0]) & (at < bounds[1])).unsqueeze(axis)
    return torch.where(inside[:, None], pixels[rows], pixels), rows


def _grey(pixels: Tensor, generator: torch.Generator, share: Share, probability: float) -> Tensor:
    grey = _luminance(pixels).expand_as(pixels)
    return torch.where(_chosen(share, probability, generator, pixels), grey, pixels)


def _chosen(share: Share, probability: float, generator: torch.Generator, like: Tensor) -> Tensor:
    return (share.rand(generator=generator) < probability).to(like.device)[:, None, None, None]


def _luminance(pixels: Tensor) -> Tensor:
    weights = torch.tensor(GREY, device=pixels.device).view(1, 3, 1, 1)
    return (pixels * weights).sum(dim=1, keepdim=True)


def _jitter(pixels: Tensor, generator: torch.Generator, share: Share, probability: float) -> Tensor:
    """Brightness, contrast and saturation of some."""
    drawn = 1 + (2 * share.rand(3, generator=generator) - 1) * torch.tensor(JITTER)
    brightness, contrast, saturation = (
        drawn[:, index].to(pixels.device)[:, None, None, None] for index in range(3)
    )
    changed = pixels * brightness
    mean = _luminance(changed).mean(dim=(2, 3), keepdim=True)
    changed = mean + (changed - mean) * contrast
    grey = _luminance(changed)
    changed = grey + (changed - grey) * saturation
    return torch.where(_chosen(share, probability, generator, pixels), changed.clamp(0, 1), pixels)


def _blurred(pixels: Tensor) -> Tensor:
    """A binomial filter of five by five."""
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=pixels.device) / 16
    kernel = (row[:, None] * row[None]).expand(3, 1, 5, 5)
    return F.conv2d(F.pad(pixels, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)
