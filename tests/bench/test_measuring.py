"""What the benchmarks share."""

from __future__ import annotations

import sys

import pytest
from measuring import cpu_seconds_of, exponent


def test_the_exponent_of_a_power_is_found() -> None:
    assert exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert exponent([10, 1000], [5, 5]) == pytest.approx(0)


def test_the_exponent_is_the_least_squares_slope() -> None:
    # Logarithms to base 2: sizes 0, 1, 2 and costs 0, 0, 3, whose slope is (-1 * -1 + 1 * 2) / 2.
    assert exponent([1, 2, 4], [1, 1, 8]) == pytest.approx(1.5)


def test_seconds_of_a_command_hold_those_of_its_children() -> None:
    work = "import time\nwhile time.process_time() < 0.3: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
    assert 0.3 <= cpu_seconds_of([sys.executable, "-c", child]) < 3
