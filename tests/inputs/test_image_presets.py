"""Pixels against the reference implementation and against transformers' processors."""

import numpy as np
import pytest
from PIL import Image

from siglip2.config import VisionConfig
from siglip2.errors import InvalidImage, InvalidInput
from siglip2.inputs.decode import load_image
from siglip2.inputs.image import ImagePreprocessor
from siglip2.inputs.naflex import MAX_SIDE
from siglip2.inputs.patches import patchify


def vision(patch: int = 16, image: int | None = 256, budget: int = 256) -> VisionConfig:
    grid = 16 if image is None else image // patch
    return VisionConfig(
        width=64,
        depth=1,
        mlp_dim=64,
        num_heads=4,
        patch_size=patch,
        image_size=image,
        position_grid=grid,
        max_num_patches=budget,
    )


def as_floats(patches: np.ndarray) -> np.ndarray:
    return patches.astype(np.float32) / 127.5 - 1


def golden_images(golden_dir):
    return [golden_dir / f"image_{number}.png" for number in range(4)]


@pytest.mark.parametrize(
    ("name", "patch", "side"), [("fixed_p16_r64_scan", 16, 64), ("fixed_p14_r70_widetower", 14, 70)]
)
def test_fixed_resolution_equals_the_reference(golden_dir, name, patch, side):
    pixels = np.load(golden_dir / f"{name}_io.npz")["pixels"]
    wanted = np.stack([patchify(image, patch) for image in pixels])
    batch = ImagePreprocessor(vision(patch, side), "reference")(golden_images(golden_dir))
    assert batch.patches.dtype == np.uint8
    assert batch.mask is None
    np.testing.assert_allclose(as_floats(batch.patches), wanted, atol=1e-6)


def test_naflex_equals_the_reference(golden_dir):
    golden = np.load(golden_dir / "naflex_p16_n64_io.npz")
    preprocessor = ImagePreprocessor(vision(image=None, budget=64), "reference")
    prepared = [preprocessor.prepare_one(image) for image in golden_images(golden_dir)]
    batch = preprocessor.batch(prepared, pad_to=64)
    real = golden["patch_type"] == 1
    assert batch.patches.dtype == np.float32
    np.testing.assert_array_equal(batch.mask, real)
    np.testing.assert_allclose(batch.patches[real], golden["patches"][real], atol=1e-5)
    for row, (high, wide) in enumerate(batch.grids):
        rows, columns = np.divmod(np.arange(high * wide), wide)
        np.testing.assert_array_equal(rows, golden["yidx"][row][real[row]])
        np.testing.assert_array_equal(columns, golden["xidx"][row][real[row]])


def photos(shared_data) -> list:
    files = sorted(file for file in (shared_data / "photos").iterdir() if file.suffix in (".jpg", ".png"))
    assert len(files) == 36
    return files


@pytest.mark.shared
@pytest.mark.parametrize(("patch", "side"), [(16, 256), (14, 384)])
def test_photos_equal_the_transformers_processor_at_fixed_resolution(shared_data, patch, side):
    siglip = pytest.importorskip("transformers.models.siglip.image_processing_pil_siglip")
    processor = siglip.SiglipImageProcessorPil(
        size={"height": side, "width": side}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    preprocessor = ImagePreprocessor(vision(patch, side), scaled_decoding=False)
    for photo in photos(shared_data):
        ours = preprocessor([photo])
        # The processor neither turns photos upright nor, in the hub's configuration, makes them RGB.
        pixels = processor(load_image(photo), return_tensors="np")["pixel_values"][0]
        wanted = patchify(pixels.transpose(1, 2, 0), patch)
        assert ours.patches.dtype == np.uint8
        np.testing.assert_allclose(as_floats(ours.patches[0]), wanted, atol=1e-6, err_msg=photo.name)


@pytest.mark.shared
@pytest.mark.parametrize("budget", [256, 784])
def test_photos_equal_the_transformers_processor_with_naflex(shared_data, budget):
    siglip2 = pytest.importorskip("transformers.models.siglip2.image_processing_pil_siglip2")
    processor = siglip2.Siglip2ImageProcessorPil(max_num_patches=budget, patch_size=16)
    preprocessor = ImagePreprocessor(vision(image=None), scaled_decoding=False)
    for photo in photos(shared_data):
        wanted = processor(load_image(photo), return_tensors="np")
        if wanted["spatial_shapes"].max() > MAX_SIDE:  # there big_vision gives NaN
            with pytest.raises(InvalidImage, match="crop it"):
                preprocessor.prepare_one(photo, max_num_patches=budget)
            continue
        prepared = preprocessor.prepare_one(photo, max_num_patches=budget)
        assert prepared.grid == tuple(wanted["spatial_shapes"][0]), photo.name
        count = int(wanted["pixel_attention_mask"][0].sum())
        np.testing.assert_allclose(
            as_floats(prepared.patches), wanted["pixel_values"][0][:count], atol=1e-6, err_msg=photo.name
        )


@pytest.mark.shared
@pytest.mark.parametrize("preset", ["transformers", "timm"])
def test_scaled_decoding_changes_photos_little(shared_data, preset):
    reduced = 0
    for photo in photos(shared_data):
        whole, scaled = (
            ImagePreprocessor(vision(image=64), preset, scaled_decoding=switch).prepare_one(photo).patches
            for switch in (False, True)
        )
        difference = np.abs(whole.astype(int) - scaled)
        reduced += bool(difference.any())
        assert difference.mean() < 2, (photo.name, difference.mean())
    assert reduced >= 4  # the four photos of 1800x1200 at least


def test_timm_is_bicubic_to_whole_patches():
    picture = Image.effect_noise((500, 300), 80).convert("RGB")
    prepared = ImagePreprocessor(vision(14, 384), "timm").prepare_one(picture)
    wanted = np.asarray(picture.resize((378, 378), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(prepared.patches, patchify(wanted, 14))


def test_patches_are_row_major_and_ordered_row_column_channel():
    pixels = np.arange(6 * 9 * 3).reshape(6, 9, 3)
    patches = patchify(pixels, 3)
    assert patches.shape == (6, 27)
    np.testing.assert_array_equal(patches[1], pixels[:3, 3:6].ravel())
    np.testing.assert_array_equal(patches[3], pixels[3:, :3].ravel())
    np.testing.assert_array_equal(patchify(np.pad(pixels, ((0, 2), (0, 1), (0, 0))), 3), patches)


@pytest.mark.parametrize("preset", ["transformers", "reference", "timm"])
@pytest.mark.parametrize(("size", "budget"), [((2400, 100), 256), ((100, 500), 1024), ((900, 800), 5000)])
def test_an_image_with_too_many_patches_on_a_side_is_refused_by_itself(tmp_path, preset, size, budget):
    path = tmp_path / "panorama.jpg"
    Image.new("RGB", size).save(path)
    preprocessor = ImagePreprocessor(vision(image=None), preset)
    with pytest.raises(InvalidImage, match=r"panorama\.jpg is .* 64: crop it") as caught:
        preprocessor.prepare_one(path, max_num_patches=budget)
    advised = int(str(caught.value).split("max_num_patches to ")[1].split()[0])
    assert 32 < max(preprocessor.prepare_one(path, max_num_patches=advised).grid) <= 64


def test_a_token_budget_below_one_is_no_fault_of_the_image(tmp_path):
    path = tmp_path / "fine.jpg"
    Image.new("RGB", (60, 40)).save(path)
    with pytest.raises(InvalidInput, match="max_num_patches is 0; it must be at least 1"):
        ImagePreprocessor(vision(image=None)).prepare_one(path, max_num_patches=0)


def test_batches_pad_and_refuse():
    preprocessor = ImagePreprocessor(vision(image=None, budget=64))
    wide, tall = Image.new("RGB", (200, 100)), Image.new("RGB", (60, 200), "white")
    batch = preprocessor([wide, tall])
    assert batch.mask is not None
    counts = batch.grids.prod(axis=1)
    assert batch.patches.shape == (2, counts.max(), 768)
    np.testing.assert_array_equal(batch.mask.sum(axis=1), counts)
    assert batch.grids.dtype == np.int32
    with pytest.raises(InvalidInput, match="does not fit"):
        preprocessor.batch([preprocessor.prepare_one(wide)], pad_to=4)
    with pytest.raises(InvalidInput, match="at least one image"):
        preprocessor([])
    with pytest.raises(InvalidInput, match="NaFlex"):
        ImagePreprocessor(vision())([wide], max_num_patches=64)
    with pytest.raises(InvalidInput, match="unknown image preset"):
        ImagePreprocessor(vision(), "bicubic")  # pyright: ignore[reportArgumentType]


def test_the_fingerprint_names_what_changes_pixels():
    def fingerprint(*args, **options):
        return ImagePreprocessor(*args, **options).fingerprint

    base = fingerprint(vision())
    others = [
        fingerprint(vision(), "timm"),
        fingerprint(vision(), "reference"),
        fingerprint(vision(), scaled_decoding=False),
        fingerprint(vision(32)),
        fingerprint(vision(image=384)),
        fingerprint(vision(image=None)),
        fingerprint(vision(image=None, budget=576)),
    ]
    assert len({base, *others}) == 8
    assert fingerprint(vision()) == base
    # Only decodings of a reference preset are always in full.
    assert fingerprint(vision(), "reference", scaled_decoding=False) == others[1]
