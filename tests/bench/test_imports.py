"""Benchmarks run seldom: a name that has changed in the package must not be found out by the next one to run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCH.glob("*.py")))
def test_a_benchmark_finds_what_it_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__
