"""Who samples, by name."""

from __future__ import annotations

from typing import Any

import pytest

from overopt.config import dump, load
from overopt.errors import ConfigError
from overopt.training.samplers import Own
from overopt.training.stages.online import Online
from overopt.vllm.importance import TruncatedImportance
from overopt.vllm.sampler import VLLM
from overopt.vllm.transfer import NCCL, ByFolder

BASE = {"stage": "online", "policy": "p", "reward_model": "r"}


def sampler(value: Any) -> Any:
    return load({"online": Online}, BASE | {"sampler": value}).sampler


def test_the_engine_samples_unless_told_otherwise() -> None:
    config = load({"online": Online}, BASE)
    assert config.sampler == Own() == sampler("own")
    assert dump(config)["sampler"] in ("own", {"name": "own"})
    assert Own().start(None, 0, print) is None  # type: ignore[arg-type, func-returns-value]


def test_a_server_samples() -> None:
    found = sampler({"name": "vllm", "url": "http://node-3:8000/v1"})
    assert found == VLLM(url="http://node-3:8000", transfer=NCCL(), correction=None)
    whole = {"name": "vllm", "url": "http://node-3:8000", "correction": "truncated", "max_gap": 1.0}
    found = sampler(whole | {"transfer": {"name": "folder", "path": "served"}})
    assert found.correction == TruncatedImportance() and isinstance(found.transfer, ByFolder)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("vllm", "sampler.url"),
        ({"name": "vllm", "url": "node-3:8000"}, "must be an address such as http://localhost:8000"),
        (
            {"name": "vllm", "url": "http://a", "transfer": "files"},
            "sampler.transfer: unknown name 'files' .*nccl, ipc, folder",
        ),
        ({"name": "vllm", "url": "http://a", "correction": {"name": "truncated", "cap": 0}}, "sampler.correction.cap"),
        ("trl", "sampler: unknown name 'trl'"),
    ],
)
def test_a_mistake_is_named(value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sampler(value)
