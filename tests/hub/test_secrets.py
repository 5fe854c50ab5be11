"""A token that opens a gated model, and is in nothing that a run writes or prints."""

from __future__ import annotations

import base64
import gzip
import logging
from pathlib import Path

import pytest
import tiny
from tiny import Chain

from hub import LoopbackHub
from overopt.cli import main
from overopt.errors import UserError
from overopt.records import load_run
from overopt.training.train import train

TOKEN = "hf_PlantedPlantedPlantedPlanted12345"


def holding(place: Path) -> list[Path]:
    """The files that hold the token, in any spelling."""
    spelled = [TOKEN.encode(), base64.b64encode(TOKEN.encode()), TOKEN[3:20].encode()]
    found = []
    for path in place.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content += gzip.decompress(content) if content[:2] == b"\x1f\x8b" else b""
            found += [path for text in spelled if text in content]
    return found


def test_a_planted_token_is_nowhere(
    loopback_hub: LoopbackHub,
    chain: Chain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    loopback_hub.token = TOKEN
    loopback_hub.add("model", "tiny/policy", chain.policy / "checkpoints" / "step-60", gated=True)
    loopback_hub.add("model", "tiny/rm", load_run(chain.reward_model).checkpoint(), private=True)
    config = tiny.online(chain, policy="tiny/policy", reward_model="tiny/rm", checkpoint_every=1)
    loopback_hub.fail("the token in an error", "/resolve/", times=2)  # a hub that shows it, which none does
    with pytest.raises(UserError) as refused:
        train(config, tmp_path / "failed")
    assert "the Hub forbids it" in str(refused.value) and "[redacted]" in str(refused.value)
    run = train(config, tmp_path / "run")
    assert run.status == "finished"
    assert main(["evaluate", str(run.path), "--judge", "reward_model"]) == 0
    assert main(["report", str(run.path), "--out", str(tmp_path / "report.html")]) == 0
    printed = "".join(capfd.readouterr()) + str(refused.value) + caplog.text
    assert TOKEN not in printed and TOKEN[3:20] not in printed
    assert any(request.token == TOKEN for request in loopback_hub.requests)
    assert (tmp_path / "report.html").is_file() and holding(tmp_path) == []
    (tmp_path / "check.txt").write_text(TOKEN)
    assert holding(tmp_path) != []  # the search finds one
