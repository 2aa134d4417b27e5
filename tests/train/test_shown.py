"""What losses and teachers see of a picture: shape, colours, what is laid into it, where boxes lie."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from siglip2.data.captioned import CaptionedImages
from siglip2.data.folder import captioned_folder
from siglip2.data.share import Share
from siglip2.data.views import Colours, Shown, draw_colours, draw_mixing
from siglip2.inputs.naflex import naflex_size
from siglip2.recipes.recipe import LossWeights, Source, Stage
from siglip2.train.batches import draw_views, finish_views
from siglip2.train.objective import stage_config
from siglip2.train.prepare import load_sources
from siglip2.train.sampling import draw_batch
from siglip2.train.shapes import draw_shapes

WHOLE = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])


def shown(count, **changes):
    """Pictures of one number each."""
    pictures = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 8, 8, 3)
    return Shown(pictures=pictures, crops=WHOLE.expand(count, -1, -1), **changes)


def test_a_part_of_another_picture_is_laid_into_some():
    """Every picture is one number, so that what is seen in it says where it came from."""
    mixing = draw_mixing(200, torch.Generator().manual_seed(0), probability=0.5)
    seen = ((shown(200, mixing=mixing).at(24) + 1) * 127.5).round()
    shares = []
    for number, (picture, row) in enumerate(zip(seen, mixing.other.tolist(), strict=True)):
        assert set(picture.flatten().tolist()) <= {number, row}
        assert picture.flatten().tolist().count(number) >= 0.4 * picture.numel()
        if row != number:
            inside = picture[0] == row
            height, width = (inside.any(dim=axis).sum() for axis in (1, 0))
            assert inside.sum() == height * width, "no rectangle"
            shares.append(float(inside.float().mean()))
            x0, y0, x1, y1 = mixing.boxes[number].tolist()
            assert mixing.hides(number, (x0, y0, x1, y1))
            assert not mixing.hides(number, (0.0, 0.0, 1.0, 1.0)) or inside.float().mean() > 0.45
        else:
            assert not mixing.hides(number, (0.0, 0.0, 0.1, 0.1))
    assert 0.35 < len(shares) / 200 < 0.65
    assert min(shares) > 0.15
    assert max(shares) < 0.56
    none = draw_mixing(200, torch.Generator().manual_seed(0), probability=0.0)
    assert torch.equal(shown(200, mixing=none).at(8), shown(200).at(8))


def test_some_rows_are_seen_as_in_the_whole_batch():
    """A teacher computes in passes of a few rows what the student sees at once."""
    generator = torch.Generator().manual_seed(0)
    colours = Colours.of_all([draw_colours(Share.of(30), generator)])
    all_of_it = shown(30, colours=colours, mixing=draw_mixing(30, generator, probability=0.7))
    rows = [4, 29, 4, 0]
    assert torch.equal(all_of_it.at(16, rows), all_of_it.at(16)[rows])


@pytest.mark.parametrize(("width", "height"), [(400, 100), (120, 300), (90, 90)])
def test_a_picture_has_its_own_shape_again(tmp_path, width, height):
    """Pictures are held as squares; a NaFlex batch shows them as an encoder would."""
    Image.new("RGB", (width, height), "red").save(tmp_path / "photo.png")
    (tmp_path / "captions.csv").write_text("path,caption\nphoto.png,red\n")
    source = captioned_folder(tmp_path, 32)
    assert source.aspects == [width / height]
    shares, generator = [Share.of(1)], torch.Generator().manual_seed(0)
    crops, grids, length = draw_shapes(
        WHOLE[None], np.array(source.aspects), shares, [64], generator, variety=1.0
    )
    assert torch.equal(crops, WHOLE[None])
    assert length == 64
    expected = naflex_size(height, width, 16, 64)
    assert grids[0].tolist() == [side // 16 for side in expected]


def test_very_long_pictures_stay_within_the_position_table():
    shares, generator = [Share.of(2)], torch.Generator().manual_seed(0)
    aspects = np.array([30.0, 1 / 30])
    _, grids, _ = draw_shapes(WHOLE.expand(2, -1, -1), aspects, shares, [1024], generator, variety=2.0)
    assert grids.max() <= 64
    assert (grids.prod(dim=1) <= 1024).all()


def test_boxes_lie_where_their_things_are_in_a_batch_of_native_shapes(tiny_recipe):
    """A white box on black: where it is in the patches is what the decoder is to write."""
    pictures = np.zeros((24, 64, 64, 3), np.uint8)
    pictures[:, 20:44, 24:40] = 255
    box = (24 / 64, 20 / 64, 40 / 64, 44 / 64)
    data = CaptionedImages(
        name="boxes",
        images=pictures,
        captions=[["black"]] * 24,
        classes=np.full(24, -1),
        regions=[[(box, "white")]] * 24,
        aspects=[0.5, 1.0, 2.0] * 8,
    )
    weights = LossWeights(locca=1.0)
    stage = Stage(name="native", begin=0.0, losses=weights, sequence_lengths=(144,), shape_variety=2.0)
    recipe = dataclasses.replace(
        tiny_recipe, sources=(Source(name="boxes", images_per_batch=24),), stages=(stage,), min_crop_area=0.8
    )
    written = []

    def tokenize(texts):
        written.append(list(texts))
        return np.ones((len(texts), 8), np.int32)

    batch = draw_batch(recipe.sources, [data], seed=0, step=0)
    generator = torch.Generator().manual_seed(0)
    drawn = draw_views(batch, recipe, stage, tokenize, generator)
    views = finish_views(drawn, recipe, stage, stage_config(recipe, 0), generator, "cpu")
    assert views.grids is not None
    assert len({tuple(grid) for grid in views.grids.tolist()}) > 3
    assert drawn.targets is not None
    boxes = {
        owner: [int(number) / 500 for number in text.rsplit(" : ", 1)[1].split()]
        for text, owner in zip(written[0], drawn.targets.image.tolist(), strict=True)
        if text.startswith("aref")
    }
    assert len(boxes) > 12
    for index, (top, left, bottom, right) in boxes.items():
        high, wide = views.grids[index].tolist()
        patches = views.patches[index, : high * wide].reshape(high, wide, 8, 8, 3)
        pixels = patches.permute(0, 2, 1, 3, 4).reshape(8 * high, 8 * wide, 3)
        white = pixels[..., 0] > 0
        rows, columns = (torch.nonzero(white.any(dim=axis))[:, 0] for axis in (1, 0))
        found = (
            rows.min() / (8 * high), columns.min() / (8 * wide),
            (rows.max() + 1) / (8 * high), (columns.max() + 1) / (8 * wide),
        )  # fmt: skip
        assert [float(each) for each in found] == pytest.approx((top, left, bottom, right), abs=0.03)


def test_photos_are_read_as_large_as_the_largest_stage_shows_them(tiny_recipe, tmp_path):
    Image.new("RGB", (200, 100), "red").save(tmp_path / "photo.png")
    (tmp_path / "captions.csv").write_text("path,caption\nphoto.png,red\n")
    stages = (
        Stage(name="small", begin=0.0),
        Stage(name="larger", begin=0.5, image_size=48),
        Stage(name="native", begin=0.8, sequence_lengths=(16, 64)),
    )
    recipe = dataclasses.replace(tiny_recipe, sources=(Source(name="folder", images_per_batch=1),))
    for count, side in ((1, 16), (2, 48), (3, 64)):
        (source,) = load_sources(dataclasses.replace(recipe, stages=stages[:count]), tmp_path)
        assert source.images[np.array([0])].shape == (1, side, side, 3)
