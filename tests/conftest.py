"""Where tests find the research data and the golden numbers, and how many had to do without."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# While tests run, annotations hold in the rooms that write shapes into them: jaxtyping checks the axes,
# beartype the rest (an int serves as a float). The other rooms meet people, and answer a wrong type with a
# sentence of their own, which a checker in front of them would hide. Comes before the package is imported.
CHECKED_ROOMS = ["siglip2.network", "siglip2.losses", "siglip2.data"]
install_import_hook(CHECKED_ROOMS, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

REPOSITORY = Path(__file__).resolve().parent.parent

SHARED_FIXTURES = {"shared_data", "golden_dir"}
MISSING = "is missing: set SIGLIP2_SHARED, or lay the folder `shared` beside the repository's"


def find_shared() -> Path:
    """The folder of research data: SIGLIP2_SHARED, or `shared` beside the repository."""
    return Path(os.environ.get("SIGLIP2_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real images, captions and masks; skips where it is missing."""
    folder = find_shared() / "data"
    if not folder.is_dir():
        pytest.skip(f"the folder of research data {MISSING}")
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Golden numbers of the reference implementation."""
    copied = Path(__file__).parent / "golden"
    if copied.is_dir():
        return copied
    folder = find_shared() / "golden"
    if not folder.is_dir():
        pytest.skip(f"the folder of golden numbers {MISSING}")
    return folder


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Mark as `shared` whatever uses the research data, so that `-m "not shared"` leaves it out."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line how much a run without the research data did not see."""
    skipped = terminalreporter.stats.get("skipped", [])
    without_data = sum(MISSING in str(report.longrepr) for report in skipped)
    if without_data:
        terminalreporter.write_line(f"{without_data} tests did not run: the research data {MISSING}")
