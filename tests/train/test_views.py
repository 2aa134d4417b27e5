"""Crops, boxes in crops, and views."""

import io

import pytest
import torch
from PIL import Image

from siglip2.data.augment import apply_crops, crop_box, draw_crops
from siglip2.data.captioned import stack_images
from siglip2.data.share import Share
from siglip2.data.views import LOCAL_AREA, Colours, colour, draw_colours, random_views


def test_a_box_moves_with_its_crop():
    """A white box on black: where it is in the view is where `crop_box` says."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.zeros(20, 64, 64, 3, dtype=torch.uint8)
    pictures[:, 20:44, 24:40] = 255
    box = (24 / 64, 20 / 64, 40 / 64, 44 / 64)
    crops = draw_crops(Share.of(20), generator, min_area=0.5)
    views = apply_crops(pictures, crops, (64, 64))
    checked = 0
    for view, crop in zip(views, crops, strict=True):
        seen = crop_box(box, crop.tolist())
        if seen is None:
            continue
        rows, columns = (torch.nonzero((view[0] > 0).any(dim=axis))[:, 0] for axis in (1, 0))
        found = (columns.min() / 64, rows.min() / 64, (columns.max() + 1) / 64, (rows.max() + 1) / 64)
        assert [float(value) for value in found] == pytest.approx(seen, abs=0.03)
        checked += 1
    assert checked > 10


def test_a_box_outside_of_the_crop_is_dropped():
    crop = torch.tensor([[0.5, 0, -0.5], [0, 0.5, -0.5]])  # the top left quarter
    assert crop_box((0.6, 0.6, 0.9, 0.9), crop.tolist()) is None
    assert crop_box((0.1, 0.1, 0.3, 0.3), crop.tolist()) == pytest.approx((0.2, 0.2, 0.6, 0.6))
    mirrored = torch.tensor([[-1.0, 0, 0], [0, 1.0, 0]])
    assert crop_box((0.1, 0.2, 0.3, 0.4), mirrored.tolist()) == pytest.approx((0.7, 0.2, 0.9, 0.4))


def test_views_differ_between_images_and_repeat_with_the_seed():
    pictures = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8).expand(6, -1, -1, -1).contiguous()

    def view(seed):
        generator = torch.Generator().manual_seed(seed)
        shares, flips = [Share.of(4), Share.of(2)], [True, False]
        return random_views(pictures, shares, generator, size=16, area=LOCAL_AREA, flips=flips, solarise=0.2)

    first = view(0)
    assert first.shape == (6, 3, 16, 16)
    assert first.abs().max() <= 1
    assert torch.equal(first, view(0))
    assert not torch.equal(first, view(1))
    assert not torch.equal(first[0], first[1])


def test_training_sees_photos_upright():
    """A photo that says it was taken with the camera turned is turned back, as at inference."""
    picture = Image.new("RGB", (8, 4), "black")
    picture.paste("white", (0, 0, 4, 4))  # left half white
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=turned)
    (seen,), (aspect,) = stack_images([buffer.getvalue()], 8)
    assert aspect == 0.5
    assert seen[:4].min() == 255
    assert seen[4:].max() == 0


def test_some_pictures_change_their_colours_and_some_of_these_become_grey():
    pixels = (
        torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)).expand(400, -1, -1, -1) * 2 - 1
    )
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_colours(Share.of(200), generator, changed=0.5, grey=0.125) for _ in range(2)]
    seen = colour(pixels, Colours.of_all(drawn))
    changed = ~torch.isclose(seen, pixels, atol=1e-5).flatten(1).all(1)
    grey = (seen - seen[:, :1]).abs().flatten(1).amax(1) < 1e-5
    assert 0.45 < changed.float().mean() < 0.68
    assert 0.07 < grey.float().mean() < 0.18
    assert seen.min() >= -1
    assert seen.max() <= 1
