"""What the image tower eats: patches, with their grids and mask."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class ImageBatch:
    """A batch of patchified images.

    Attributes:
        patches: (B, N, P) with P = patch_size^2 * 3, each patch flattened in the order (row, column,
            channel). uint8 holds raw pixel values 0..255, which the runtime maps to value / 127.5 - 1;
            float32 is already in [-1, 1].
        grids: (B, 2) int32, patches high and wide of each image.
        mask: (B, N) bool, True at real patches; None where every position is one (fixed resolution).
    """

    patches: np.ndarray
    grids: np.ndarray
    mask: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.patches)
