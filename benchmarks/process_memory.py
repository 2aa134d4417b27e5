"""The most memory that this process held."""

from pathlib import Path

STATUS = Path("/proc/self/status")
"""Of Linux."""


def peak_kilobytes() -> int:
    """Of this process alone: `ru_maxrss` counts what the process held that started it."""
    lines = STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
