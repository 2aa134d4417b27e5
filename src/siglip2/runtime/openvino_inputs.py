"""What the OpenVINO graphs take, made from a batch: pixels scaled, positions, masks, embedding rows."""

import threading
from collections import OrderedDict

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.inputs.batch import ImageBatch
from siglip2.inputs.naflex import position_table
from siglip2.runtime.openvino_graph import EMBEDDINGS, MASK, MASKED, PATCHES, POSITIONS
from siglip2.weights.checkpoint import Checkpoint

CACHED_GRIDS = 64
"""Position tables kept, one a grid. 64 of them take 50 MB at 256 patches of width 768."""


class VisionInputs:
    """Turns an `ImageBatch` into the inputs of the image tower."""

    def __init__(self, checkpoint: Checkpoint):
        self._vision = checkpoint.config.vision
        self._positions = PositionCache(checkpoint) if self._vision.naflex else None

    def check(self, batch: ImageBatch) -> None:
        """Refuse a batch that does not fit the model.

        Raises:
            InvalidInput: says what is wrong and what would be right.
        """
        vision, patches = self._vision, batch.patches
        if patches.ndim != 3 or patches.shape[2] != vision.patch_dim:
            raise InvalidInput(f"patches have shape {patches.shape}, expected (B, N, {vision.patch_dim})")
        if patches.dtype not in (np.uint8, np.float32):
            raise InvalidInput(f"patches are {patches.dtype}; uint8 and float32 are accepted")
        if not vision.naflex and patches.shape[1] != vision.num_positions:
            raise InvalidInput(
                f"images have {patches.shape[1]} patches, this fixed-resolution model takes "
                f"{vision.num_positions}"
            )
        if not vision.naflex and batch.mask is not None and not batch.mask.all():
            raise InvalidInput("a fixed-resolution model takes no padded images")
        if batch.mask is not None and batch.mask.shape != patches.shape[:2]:
            raise InvalidInput(f"mask has shape {batch.mask.shape}, patches {patches.shape}")
        if vision.naflex and (batch.grids.prod(axis=1) > patches.shape[1]).any():
            raise InvalidInput(f"a grid has more patches than the {patches.shape[1]} that were given")

    def make(self, batch: ImageBatch, part: slice = slice(None)) -> dict[str, np.ndarray]:
        """Graph inputs for a batch, or for some images of it."""
        inputs = {PATCHES: _scale_pixels(batch.patches[part])}
        if self._positions is None:
            return inputs
        images, tokens = inputs[PATCHES].shape[:2]
        inputs[POSITIONS] = np.zeros((images, tokens, self._vision.width), np.float32)
        for row, (high, wide) in zip(inputs[POSITIONS], batch.grids[part].tolist(), strict=True):
            row[: high * wide] = self._positions.get((high, wide))
        inputs[MASK] = np.zeros((images, 1, 1, tokens), np.float32)
        if batch.mask is not None:
            inputs[MASK][:, 0, 0][~batch.mask[part]] = MASKED
        return inputs


class PositionCache:
    """Position tables by grid, the most recent `CACHED_GRIDS` of them."""

    def __init__(self, checkpoint: Checkpoint):
        side = checkpoint.config.vision.position_grid
        learned = checkpoint.read("vision_model.embeddings.position_embedding.weight")
        self._learned = learned.reshape(side, side, -1)
        self._tables: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, grid: tuple[int, int]) -> np.ndarray:
        """(high * wide, D), row-major."""
        with self._lock:
            if grid in self._tables:
                self._tables.move_to_end(grid)
                return self._tables[grid]
        table = position_table(self._learned, grid)
        with self._lock:
            self._tables[grid] = table
            while len(self._tables) > CACHED_GRIDS:
                self._tables.popitem(last=False)
        return table


class TextInputs:
    """Turns token ids into embeddings; only the rows that are used are read from the file."""

    TABLE = "text_model.embeddings.token_embedding.weight"

    def __init__(self, checkpoint: Checkpoint):
        self._checkpoint = checkpoint
        self._text = checkpoint.config.text
        self._positions = checkpoint.read("text_model.embeddings.position_embedding.weight")

    def check(self, ids: np.ndarray) -> None:
        """Refuse ids that do not fit the model.

        Raises:
            InvalidInput: another length than the context length, or outside of the vocabulary.
        """
        text = self._text
        if ids.ndim != 2 or ids.shape[1] != text.context_length:
            raise InvalidInput(
                f"token ids have shape {ids.shape}, expected (T, {text.context_length}): "
                "texts are padded with id 0 to exactly that length"
            )
        if not np.issubdtype(ids.dtype, np.integer):
            raise InvalidInput(f"token ids are {ids.dtype}, expected integers")
        if ids.size and (ids.min() < 0 or ids.max() >= text.vocab_size):
            raise InvalidInput(f"token ids must lie in 0..{text.vocab_size - 1}")

    def make(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Graph inputs: token embedding plus position, (T, L, D)."""
        return {EMBEDDINGS: self._checkpoint.rows(self.TABLE, ids) + self._positions}


def _scale_pixels(patches: np.ndarray) -> np.ndarray:
    """uint8 pixel values to [-1, 1]; float32 is there already."""
    if patches.dtype == np.uint8:
        return patches / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(patches)
