"""Images to batches of patches, as the model's preset says."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
from PIL import Image

from siglip2.config import ImagePreset, VisionConfig
from siglip2.errors import InvalidImage, InvalidInput
from siglip2.inputs.batch import ImageBatch
from siglip2.inputs.decode import JPEG_OVERSIZE, DecodedImage, decode
from siglip2.inputs.limits import MAX_PIXELS
from siglip2.inputs.naflex import MAX_SIDE, Arithmetic, naflex_size
from siglip2.inputs.patches import pad_patches, patchify
from siglip2.inputs.resize import resize_8bit, resize_float, resize_without_antialias
from siglip2.inputs.sources import ImageSource, describe

_PIXELS_VERSION = 1
"""Raise it with every change that gives other pixels from the same file; part of the fingerprint."""


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """One image, ready for a batch.

    Attributes:
        patches: (N, P) uint8 pixel values, or float32 in [-1, 1]; see `ImageBatch`.
        grid: patches (high, wide); N is their product.
    """

    patches: np.ndarray
    grid: tuple[int, int]


class ImagePreprocessor:
    """Turns what people have into what the image tower eats.

    A fixed-resolution tower gets every image squashed to its square. NaFlex gets it in its own shape, as
    large as the token budget allows.

    The paper does not say: how training images were resized. `transformers`, the default, is what the hub's
    processors do, and equals them to the last bit where the JPEG is decoded in full; `reference` is what
    big_vision's demo does, and never uses scaled decoding; `timm` is bicubic, to whole patches (378 pixels
    for so400m-patch14-384).

    Safe to call from several threads.
    """

    def __init__(
        self,
        vision: VisionConfig,
        preset: ImagePreset = "transformers",
        *,
        scaled_decoding: bool = True,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Prepare for one image tower.

        Args:
            vision: shape of the tower.
            preset: how pixels reach the model's resolution.
            scaled_decoding: let the JPEG decoder reduce photos far larger than the model's input, which
                is several times faster and changes pixels a little.
            max_pixels: the most pixels to decode of one image.

        Raises:
            InvalidInput: an unknown preset, or a tower for images without three channels.
        """
        if preset not in get_args(ImagePreset):
            raise InvalidInput(
                f"unknown image preset {preset!r}; there are {', '.join(get_args(ImagePreset))}"
            )
        if vision.num_channels != 3:
            raise InvalidInput(f"images have 3 channels, but the tower takes {vision.num_channels}")
        self.vision = vision
        self.preset: ImagePreset = preset
        self.max_pixels = max_pixels
        # Without anti-aliasing the result hangs on single pixels of the full picture.
        self.scaled_decoding = scaled_decoding and preset != "reference"
        self._arithmetic: Arithmetic = "float32" if preset == "reference" else "float64"

    def __call__(self, images: Sequence[ImageSource], *, max_num_patches: int | None = None) -> ImageBatch:
        """Read, resize and patchify images.

        Args:
            images: what `load_image` takes.
            max_num_patches: token budget for NaFlex; the tower's own if None.

        Raises:
            InvalidImage: an image is missing, damaged, too large or, for NaFlex, too long; names it.
            InvalidInput: no images, or a token budget for a fixed-resolution tower.
        """
        return self.batch([self.prepare_one(image, max_num_patches=max_num_patches) for image in images])

    def prepare_one(self, image: ImageSource, *, max_num_patches: int | None = None) -> PreparedImage:
        """As a call with one image, without the batch. Same arguments and errors."""
        if max_num_patches is not None and not self.vision.naflex:
            raise InvalidInput(
                f"max_num_patches is for NaFlex models; this one takes {self.vision.image_size}-pixel squares"
            )

        if max_num_patches is not None and max_num_patches < 1:
            raise InvalidInput(f"max_num_patches is {max_num_patches}; it must be at least 1")

        def target(height: int, width: int) -> tuple[int, int]:
            return self._usable_size(height, width, max_num_patches, describe(image))

        decoded = decode(
            image, target=target, scaled_decoding=self.scaled_decoding, max_pixels=self.max_pixels
        )
        pixels = self._resize(decoded, *target(decoded.height, decoded.width))
        patch = self.vision.patch_size
        grid = (pixels.shape[0] // patch, pixels.shape[1] // patch)
        return PreparedImage(patches=patchify(pixels, patch), grid=grid)

    def batch(self, prepared: Sequence[PreparedImage], *, pad_to: int | None = None) -> ImageBatch:
        """One batch from prepared images.

        Args:
            prepared: images from `prepare_one` of this preprocessor.
            pad_to: NaFlex only: N of the batch; the longest image if None.

        Raises:
            InvalidInput: no images, or one with more than `pad_to` patches.
        """
        if not prepared:
            raise InvalidInput("a batch needs at least one image")
        grids = np.array([image.grid for image in prepared], dtype=np.int32)
        if not self.vision.naflex:
            return ImageBatch(patches=np.stack([image.patches for image in prepared]), grids=grids)
        patches, mask = pad_patches([image.patches for image in prepared], pad_to)
        return ImageBatch(patches=patches, grids=grids, mask=mask)

    def target_size(self, height: int, width: int, *, max_num_patches: int | None = None) -> tuple[int, int]:
        """The size in pixels that an image of this height and width is resized to."""
        vision = self.vision
        if vision.image_size is None:
            budget = vision.max_num_patches if max_num_patches is None else max_num_patches
            return naflex_size(height, width, vision.patch_size, budget, arithmetic=self._arithmetic)
        side = vision.position_grid * vision.patch_size if self.preset == "timm" else vision.image_size
        return side, side

    def _usable_size(
        self, height: int, width: int, max_num_patches: int | None, name: str
    ) -> tuple[int, int]:
        """`target_size`, for shapes alone that the tower knows.

        Found for each image, because a batch in which one is too long could only be refused as a whole.
        """
        try:
            size = self.target_size(height, width, max_num_patches=max_num_patches)
        except InvalidInput as error:
            raise InvalidImage(f"{name} cannot be used: {error}") from error
        patches = max(size) // self.vision.patch_size
        if self.vision.naflex and patches > MAX_SIDE:
            # Of a grid with fewer patches than this the long side is rounded up to no more than MAX_SIDE.
            most = max(1, MAX_SIDE**2 * min(height, width) // max(height, width))
            raise InvalidImage(
                f"{name} is {width}x{height} pixels, whose long side would be {patches} patches where the "
                f"model knows {MAX_SIDE}: crop it, or set max_num_patches to {most} or less"
            )
        return size

    def _resize(self, decoded: DecodedImage, height: int, width: int) -> np.ndarray:
        if self.preset == "reference":
            if self.vision.naflex:
                return resize_float(decoded.picture, height, width)
            return resize_without_antialias(np.asarray(decoded.picture), height, width)
        bicubic = self.preset == "timm"
        resample = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
        return resize_8bit(decoded.picture, height, width, resample, decoded.box)

    @property
    def fingerprint(self) -> str:
        """Short hash of everything that decides which pixels a file becomes.

        Two preprocessors with the same fingerprint give the same patches, so that it can key stored
        embeddings. The tower's width and depth are left out, and so is a token budget given to one call.
        """
        vision = asdict(self.vision)
        keys = ("patch_size", "image_size", "max_num_patches")
        parts = [_PIXELS_VERSION, self.preset, self.scaled_decoding and JPEG_OVERSIZE]
        parts += [vision[key] for key in keys if key != "max_num_patches" or self.vision.naflex]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
