"""Makes `fakes/` importable, here and in worker processes: stand-ins that several test files share."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tiny import Chain

FAKES = Path(__file__).parent / "fakes"
sys.path.insert(0, str(FAKES))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A policy and a reward model, trained once (seconds)."""
    import tiny  # not above: most tests need no torch

    return tiny.make_chain(tmp_path_factory.mktemp("chain"))
