"""The package's own names: a version, and two entry points that load on first use."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import overopt


def test_the_version_is_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", overopt.__version__)


def test_entry_points_load_on_first_use() -> None:
    from overopt.records import load_run
    from overopt.training.train import train

    assert overopt.load_run is load_run
    assert overopt.train is train


def test_importing_costs_nothing() -> None:
    program = "import sys, overopt; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = overopt.trian
