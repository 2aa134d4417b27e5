"""Write the house with one line a file into docs/architecture.md, from the files' own docstrings.

    python docs/write_house.py

`tests/test_layout.py` fails where the page and the tree differ.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "src" / "siglip2"
PAGE = REPOSITORY / "docs" / "architecture.md"
BEGIN = "<!-- house: written by docs/write_house.py -->\n"
END = "<!-- end of house -->\n"


def house() -> str:
    """The tree of the package, each file with the first line of its docstring."""
    tree = [("siglip2/", summary(PACKAGE / "__init__.py")), *rows(PACKAGE, depth=1)]
    column = max(len(name) for name, _ in tree) + 2
    return "\n".join(["```", *(f"{name:<{column}}{line}".rstrip() for name, line in tree), "```", ""])


def page_with_house(page: str) -> str:
    """The page with its house brought up to date.

    Args:
        page: text of docs/architecture.md, with both markers in it.
    """
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + house() + END + after


def summary(module: Path) -> str:
    """First line of a module's docstring; empty where there is none."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def rows(folder: Path, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Name and summary of each file of a folder, then of its rooms, indented by their depth."""
    indent = "  " * depth
    for module in sorted(folder.glob("*.py")):
        if module.name != "__init__.py":
            yield f"{indent}{module.name}", summary(module)
    for room in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield f"{indent}{room.name}/", summary(room / "__init__.py")
        yield from rows(room, depth + 1)


if __name__ == "__main__":
    PAGE.write_text(page_with_house(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
