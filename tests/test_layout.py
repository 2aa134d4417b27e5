"""The house stays as docs/architecture.md describes it: every file listed, small, and importing one way."""

import ast
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from docs import write_house

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "src" / "siglip2"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))

MAX_LINES = 400
MEDIAN_LINES = 150


def num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_small():
    sizes = {str(path.relative_to(REPOSITORY)): num_lines(path) for path in [*MODULES, *TESTS]}
    assert {name: size for name, size in sizes.items() if size > MAX_LINES} == {}
    assert statistics.median(sizes.values()) <= MEDIAN_LINES


def test_architecture_lists_every_file():
    page = write_house.PAGE.read_text(encoding="utf-8")
    assert page == write_house.page_with_house(page), "run `make house`"


def test_the_house_is_written_from_docstrings(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text('"""A room."""')
    (tmp_path / "room" / "chair.py").write_text('"""To sit on.\n\nMore of it.\n"""')
    assert list(write_house.rows(tmp_path)) == [("room/", "A room."), ("  chair.py", "To sit on.")]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_say_what_they_hold(module):
    assert write_house.summary(module)


def test_shapes_stay_readable_for_the_type_checker():
    """Annotations turned to strings would not be checked by jaxtyping."""
    postponed = [
        str(path)
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert postponed == []


def test_tests_mirror_the_package():
    folders = {path.parent.relative_to(REPOSITORY / "tests") for path in TESTS}
    assert [str(folder) for folder in folders if not (PACKAGE / folder).is_dir()] == []


def test_imports_point_one_way():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    if not lint_imports.exists():
        pytest.skip("needs import-linter: pip install 'siglip2[dev]'")
    result = subprocess.run([lint_imports, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "import torch",
        "from siglip2.runtime import torch",
        "from siglip2.encoder import Encoder",
    ],
)
def test_import_rules_can_fail(tmp_path, line):
    lint_imports = Path(sys.executable).with_name("lint-imports")
    if not lint_imports.exists():
        pytest.skip("needs import-linter: pip install 'siglip2[dev]'")
    shutil.copytree(PACKAGE, tmp_path / "siglip2", ignore=shutil.ignore_patterns("assets", "__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    with (tmp_path / "siglip2" / "weights" / "tensor.py").open("a") as file:
        file.write(f"\n{line}\n")
    environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    result = subprocess.run([lint_imports, "--no-cache"], cwd=tmp_path, env=environment, capture_output=True)
    assert result.returncode == 1
