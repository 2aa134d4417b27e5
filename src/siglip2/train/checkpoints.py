"""State of a run on disk, by torch's distributed checkpoints.

A state is written to a folder with another name, in the background, and renamed when all of it is there, so
that a kill at any moment leaves the last one good. Any number of ranks can read what another number wrote.
"""

import logging
import shutil
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from siglip2.errors import Siglip2Error

logger = logging.getLogger("siglip2")

# One process is meant here, not forgotten.
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")

State = dict[str, dict[str, Tensor]]

_PREFIX = "step-"


class Checkpoints:
    """The states of one run, newest last."""

    def __init__(self, run: Path, *, keep: int = 2, always: Collection[int] = ()):
        """Look at a folder.

        Args:
            run: folder of the run.
            keep: how many states to leave on disk.
            always: steps whose states stay besides.
        """
        self.folder = run / "checkpoints"
        self.keep = max(1, keep)
        self.always = frozenset(always)
        self._writing: Any = None  # torch's future, or none
        self._rename: tuple[Path, Path] | None = None
        # Ranks agree on a state in the background: on a group of their own, or they would meet the losses'.
        self._group: Any = dist.new_group(backend="gloo") if dist.is_initialized() else None

    @property
    def steps(self) -> list[int]:
        """Steps of the states that are whole."""
        return sorted(int(path.name.removeprefix(_PREFIX)) for path in self.folder.glob(f"{_PREFIX}????????"))

    def save(self, step: int, state: State, *, first: bool = True) -> None:
        """Copy a state and begin to write it; waits for the one before.

        Args:
            step: how many are done.
            state: tensors; what is sharded is written by each rank for itself.
            first: whether this rank renames and removes.
        """
        self.finish()
        partial, whole = self.folder / f"{_PREFIX}{step:08d}.partial", self.folder / f"{_PREFIX}{step:08d}"
        if whole.exists():
            return
        if first:
            shutil.rmtree(partial, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
        if dist.is_initialized():
            dist.barrier()
        self._writing = async_save(
            state, checkpoint_id=partial, process_group=self._group, no_dist=self._group is None
        )
        self._rename = (partial, whole) if first else None

    def finish(self) -> None:
        """Wait for what is being written."""
        if self._writing is None:
            return
        self._writing.result()
        self._writing = None
        if self._rename is not None:
            partial, whole = self._rename
            partial.rename(whole)
            for step in [each for each in self.steps if each not in self.always][: -self.keep]:
                shutil.rmtree(self.folder / f"{_PREFIX}{step:08d}")
        if dist.is_initialized():
            dist.barrier()

    def load(self, step: int, state: State) -> None:
        """Read a state into tensors of the same names and shapes.

        Raises:
            Siglip2Error: the state on disk holds other tensors, as after a change of the recipe.
        """
        folder = self.folder / f"{_PREFIX}{step:08d}"
        try:
            load(state, checkpoint_id=folder, no_dist=not dist.is_initialized())
        except CheckpointException as error:
            reason = next(iter(error.failures.values()))[0]
            raise Siglip2Error(
                f"{folder} does not fit this recipe: {str(reason).splitlines()[0][:300]}. "
                "Go on with the recipe that the run was begun with, or name another folder"
            ) from error


def load_tensors(folder: Path) -> State:
    """A whole state without a recipe, for export and for tests."""
    reader = FileSystemReader(folder)
    found = reader.read_metadata().state_dict_metadata
    flat = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in found.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    load(flat, storage_reader=reader, no_dist=True)
    state: State = {}
    for name, tensor in flat.items():
        part, _, rest = name.partition(".")
        state.setdefault(part, {})[rest] = tensor
    return state
