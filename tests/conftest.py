"""Where tests find the research data and the golden numbers."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def find_shared() -> Path:
    """The folder of research data: SIGLIP2_SHARED, or `shared` beside the repository."""
    return Path(os.environ.get("SIGLIP2_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real images, captions and masks; skips where it is missing."""
    folder = find_shared() / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the research data folder {folder} (set SIGLIP2_SHARED)")
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Golden numbers of the reference implementation."""
    copied = Path(__file__).parent / "golden"
    if copied.is_dir():
        return copied
    folder = find_shared() / "golden"
    if not folder.is_dir():
        pytest.skip(f"needs the golden numbers in {folder} (set SIGLIP2_SHARED)")
    return folder
