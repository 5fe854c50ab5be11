"""Run directories damaged by chance, under every verb that reads one: done, or said in words; never a fault of ours."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from damaged_runs import damage
from tiny import Chain, Config

from overopt.cli import main
from overopt.training.train import train

SEEDS = [pytest.param(range(6), id="some"), pytest.param(range(6, 200), id="all", marks=pytest.mark.long)]


def cut_short(config: Config, out: Path) -> Config:
    """A run of which two steps are kept, to go on from."""

    def seen(now: object) -> None:
        if now.step == 2:  # type: ignore[attr-defined]
            raise MemoryError

    with pytest.raises(MemoryError):
        train(config, out, progress=seen)
    return config


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Config]:
    """A run of each stage, and two that were cut short, with their configurations."""
    folder = tmp_path_factory.mktemp("runs")
    chain = Chain(folder / "sft", folder / "reward-model")
    made = {"sft": tiny.sft(), "reward-model": tiny.reward_model(chain, max_completion_tokens=6)}
    later = {
        "online": tiny.online(chain, checkpoint_every=1),
        "offline": tiny.offline(chain, checkpoint_every=2),
        "cut": tiny.online(chain, checkpoint_every=1),
        "cut reward model": tiny.reward_model(chain, checkpoint_every=1),
    }
    for name, config in made.items():
        train(config, folder / name)
    for name, config in later.items():
        cut_short(config, folder / name) if name.startswith("cut") else train(config, folder / name)
    return {folder / name: config for name, config in (made | later).items()}


def readings(run: Path, config: Config, tmp_path: Path) -> Iterator[list[str]]:
    """Command lines that read the run."""

    def file(config: Config) -> str:
        path = tmp_path / f"config-{random.random()}.yaml"
        path.write_text(json.dumps(config))
        return str(path)

    chain = Chain(run, run.parent / "reward-model")
    if config["stage"] == "reward_model":
        chain = Chain(run.parent / "sft", run)
        yield ["train", file(tiny.offline(chain, steps=1)), "--out", str(tmp_path / "paired")]
    yield ["report", str(run), str(run.parent / "offline"), "-o", str(tmp_path / "report.html")]
    yield ["watch", str(run), "--once"]
    yield ["best-of-n", str(run), str(run.parent / "offline"), "-o", str(tmp_path / "curve.svg")]
    yield ["evaluate", str(run)]
    yield ["log", str(run), "--sink", f"{{name: fake_sinks:Noting, file: {tmp_path / 'sent'}}}"]
    yield ["plan", file(tiny.online(chain))]
    yield ["train", file(config), "--out", str(run)]
    yield ["train", file(tiny.online(chain, total_episodes=8)), "--out", str(tmp_path / "child")]


@pytest.mark.parametrize("seeds", SEEDS)
def test_no_damage_gets_through(
    seeds: range, runs: dict[Path, Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    escaped: list[str] = []
    codes: set[int] = set()
    for seed in seeds:
        draw = random.Random(seed)
        run, config = draw.choice(list(runs.items()))
        whole = Path(shutil.copytree(run, tmp_path / "whole"))
        said = damage(run, draw)
        damaged = Path(shutil.copytree(run, tmp_path / "damaged", symlinks=True))
        for line in draw.sample(list(readings(run, config, tmp_path)), 2):
            code = main(line)
            codes.add(code)
            if code not in (0, 2):
                escaped.append(f"{seed}: {said}: {line[0]}: {capsys.readouterr().err[-400:]}")
            put_back(damaged, run)
        put_back(whole, run)
        for left in ("whole", "damaged", "child", "paired"):
            shutil.rmtree(tmp_path / left, ignore_errors=True)
    assert not escaped, "\n".join(escaped)
    assert codes == {0, 2}


def put_back(copy: Path, run: Path) -> None:
    shutil.rmtree(run)
    shutil.copytree(copy, run, symlinks=True)
