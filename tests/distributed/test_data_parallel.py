"""Two and three processes against one: the same losses, gradients, samples and evaluations, up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from joined import results
from tiny import Chain, Config

from overopt.records import Run, load_run
from overopt.training.train import train

ONLINE: dict[str, Config] = {
    "rloo": {"total_episodes": 30, "episodes_per_update": 10, "minibatches": 1},
    "several minibatches": {},
    "adaptive kl, ranks of a batch": {
        "regularizers": [{"name": "kl", "coef": {"name": "adaptive_kl", "target": 2.0}}],
        "advantage": {"name": "reinforce_pp"},
    },
    "losses that see logits": {
        "loss_regularizers": [{"name": "token_kl_forward", "coef": 0.1}, {"name": "token_entropy", "coef": 0.01}],
        "probes": {"every": 1},
    },
    "remax": {"advantage": "remax"},
    "no reward model": {"reward_model": None, "rewards": ["distributed_reward:shortest"]},
}
OFFLINE: dict[str, Config] = {
    "dpo": {},
    "batches that do not divide": {"batch_size": 7, "loss": "simpo"},
    "kto, not separable": {"loss": "kto"},
    "gamma-po, a statistic of the batch": {"loss": "gamma_po"},
    "cringe, with logits": {"loss": "cringe"},
    "amopo, other views": {"loss": "amopo"},
}


@pytest.fixture(autouse=True)
def _reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def shortest(prompts, completions, **columns):\n    return [-0.1 * len(text) for text in completions]\n"
    (tmp_path / "distributed_reward.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))


def compared(config: Config, out: Path, count: int) -> tuple[Run, Run]:
    """The runs of one process and of several."""
    silent: Callable[[str], None] = lambda text: None  # noqa: E731
    alone = train(config, out / "one", notice=silent)
    results(count, lambda: str(train(config, out / "several", notice=silent).path))
    return alone, load_run(out / "several")


def check_same(alone: Run, several: Run, count: int) -> None:
    assert several.status == alone.status == "finished"
    assert several.info["processes"] == count
    for ours, theirs in ((several.iter_metrics(), alone.iter_metrics()), (several.evaluations(), alone.evaluations())):
        for row, expected in zip(list(ours), list(theirs), strict=True):
            assert row.keys() == expected.keys()
            for name, value in expected.items():
                close: Any = pytest.approx(value, rel=2e-3, abs=2e-5) if isinstance(value, float) else value
                assert row[name] == close, name
    assert tiny.farthest(alone, several) < 2e-4
    for step in alone.sample_steps():
        texts = [[(r["prompt_id"], r["completion"]) for r in run.samples(step)] for run in (alone, several)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("count", [2, 3])
def test_sft(tmp_path: Path, count: int) -> None:
    check_same(*compared(tiny.sft(batch_size=15), tmp_path, count), count)


@pytest.mark.parametrize("count", [2, 3])
def test_reward_model(chain: Chain, tmp_path: Path, count: int) -> None:
    alone, several = compared(tiny.reward_model(chain, batch_size=11), tmp_path, count)
    check_same(alone, several, count)
    assert (alone.path / "pairs.jsonl.gz").read_bytes() == (several.path / "pairs.jsonl.gz").read_bytes()


@pytest.mark.parametrize("name", ONLINE)
def test_online(chain: Chain, tmp_path: Path, name: str) -> None:
    check_same(*compared(tiny.online(chain, **ONLINE[name]), tmp_path, 2), 2)


def test_online_in_three_processes(chain: Chain, tmp_path: Path) -> None:
    check_same(*compared(tiny.online(chain, **ONLINE["rloo"]), tmp_path, 3), 3)


@pytest.mark.parametrize("name", OFFLINE)
def test_offline(chain: Chain, tmp_path: Path, name: str) -> None:
    check_same(*compared(tiny.offline(chain, **OFFLINE[name]), tmp_path, 2), 2)


def test_offline_in_three_processes(chain: Chain, tmp_path: Path) -> None:
    check_same(*compared(tiny.offline(chain, **OFFLINE["kto, not separable"]), tmp_path, 3), 3)


def test_the_step_is_the_whole_batchs_gradient(chain: Chain, tmp_path: Path) -> None:
    """One step of plain SGD moves the weights by lr times the gradient: half of it, or twice, would show."""
    config = tiny.sft(optimizer={"name": "sgd"}, lr=1.0, steps=1, checkpoint_every=1)
    alone, several = compared(config, tmp_path, 2)
    start = tiny.weights(train(config | {"lr": 1e-12}, tmp_path / "start", notice=lambda text: None))
    moved = [torch.cat([(w - start[k]).flatten() for k, w in tiny.weights(run).items()]) for run in (alone, several)]
    assert float(moved[1].norm() / moved[0].norm()) == pytest.approx(1.0, abs=1e-4)
    assert float(torch.cosine_similarity(moved[0], moved[1], dim=0)) == pytest.approx(1.0, abs=1e-5)
