"""Calibration data for people who give none: drawn pictures and made-up texts, the same on every machine."""

import numpy as np

from siglip2.config import TextConfig, VisionConfig
from siglip2.inputs.batch import ImageBatch

NUM_IMAGES = 24
NUM_TEXTS = 32


def sample_images(vision: VisionConfig, seed: int = 0) -> list[ImageBatch]:
    """Coloured noise with the 1/f spectrum of photographs, at several contrasts and brightnesses."""
    generator = np.random.default_rng(seed)
    return [_image(vision, generator) for _ in range(NUM_IMAGES)]


def sample_texts(text: TextConfig, seed: int = 0) -> np.ndarray:
    """Random token ids of random lengths, an end-of-text id 1, padded with 0; (T, L) int64."""
    generator = np.random.default_rng(seed)
    ids = np.zeros((NUM_TEXTS, text.context_length), np.int64)
    for row in ids:
        length = int(generator.integers(2, text.context_length // 2))
        # The first ids of a vocabulary are reserved; frequent pieces come soon after.
        row[:length] = generator.integers(3, text.vocab_size, length)
        row[length] = 1
    return ids


def _image(vision: VisionConfig, generator: np.random.Generator) -> ImageBatch:
    high = wide = vision.position_grid
    if vision.naflex:
        high, wide = (
            int(generator.integers(high // 2, high + 1)),
            int(generator.integers(wide // 2, wide + 1)),
        )
    size = vision.patch_size
    pixels = _noise(high * size, wide * size, vision.num_channels, generator)
    grid = pixels.reshape(high, size, wide, size, vision.num_channels).swapaxes(1, 2)
    return ImageBatch(
        patches=grid.reshape(1, high * wide, vision.patch_dim),
        grids=np.array([[high, wide]], np.int32),
    )


def _noise(height: int, width: int, channels: int, generator: np.random.Generator) -> np.ndarray:
    """(height, width, channels) uint8."""
    spectrum = np.fft.rfft2(generator.standard_normal((height, width, channels)), axes=(0, 1))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(spectrum / frequency[..., None], s=(height, width), axes=(0, 1))
    noise = noise / noise.std() * generator.uniform(20, 80) + generator.uniform(70, 190)
    return noise.clip(0, 255).astype(np.uint8)
