"""Runs that are asked to stop, in a process of their own: runners of tests have their ways with signals."""

import subprocess
import sys
from pathlib import Path

SCENARIOS = Path(__file__).with_name("stopping_scenarios.py")


def test_a_run_that_is_asked_to_stop():
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(SCENARIOS)]
    root = SCENARIOS.parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "6 passed" in done.stdout
