"""The part of docs/benchmarks.md that one benchmark writes."""

from pathlib import Path


def write_section(page: Path, start: str, end: str, text: str) -> None:
    """Put a text between its two marks; the marks go to the end of a page that lacks them."""
    old = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    if start not in old:
        old = f"{old.rstrip()}\n\n{start}\n{end}\n"
    before, rest = old.split(start)
    page.write_text(f"{before}{start}\n{text}{end}{rest.split(end)[1]}", encoding="utf-8")
