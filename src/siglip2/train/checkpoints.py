"""State of a run on disk: written beside the last one and renamed, so that a kill leaves one good."""

import os
from pathlib import Path
from typing import Any

import torch


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write `state.pt` atomically."""
    temporary = folder / "state.pt.partial"
    torch.save(state, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(folder / "state.pt")


def load_state(folder: Path) -> dict[str, Any] | None:
    """The last state, or None for a fresh run. Only tensors and plain values are read."""
    path = folder / "state.pt"
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)
