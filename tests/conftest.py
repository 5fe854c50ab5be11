"""Makes `fakes/` importable, here and in worker processes: stand-ins that several test files share."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny import Chain

    from hub import LoopbackHub

FAKES = Path(__file__).parent / "fakes"
sys.path.insert(0, str(FAKES))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A policy and a reward model, trained once (seconds)."""
    import tiny  # not above: most tests need no torch

    return tiny.make_chain(tmp_path_factory.mktemp("chain"))


@pytest.fixture
def loopback_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub on this machine that this process uses, with an empty cache; the client's waits take no time."""
    import hub

    with hub.LoopbackHub() as served:
        served.waits = hub.connected(monkeypatch, served, tmp_path / "hf")
        yield served
        assert served.wrong == []
