"""Hand-made studies for the figures' tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from overopt.outcomes import Label, Outcome
from overopt.replication.members import Member, Members, Points, Setting

UPDATES = 20
PROMPTS = [f"p{place}" for place in range(100)]


def wins(share: float) -> dict[str, float]:
    """Outcomes of 100 prompts, of which so many are won."""
    return {prompt: float(place < round(100 * share)) for place, prompt in enumerate(PROMPTS)}


def points(values: Sequence[float] | float) -> Points:
    """A metric at updates 1, 2, ...; a single number is constant."""
    column = np.full(UPDATES, values) if isinstance(values, float | int) else np.asarray(values, float)
    return np.arange(1, len(column) + 1, dtype=float), column.astype(float)


def run(
    row: str,
    setting: Setting | None = None,
    seed: int = 0,
    series: Mapping[str, Sequence[float] | float] | None = None,
    label: Label | None = "GOOD",
    rates: Sequence[float] = (0.4, 0.6),
    config: Mapping[str, Any] | None = None,
    proxy: Sequence[float] = (0.0, 1.0),
) -> Member:
    """A run that was evaluated at steps 0, 10, ... with these win rates and proxies, with the numbers of its label."""
    setting = setting or {}
    first, last = (rates[0], rates[-1]) if rates else (0.0, 0.0)
    moved = proxy[-1] - proxy[0]
    numbers = {
        "win_rate": last, "sft_win_rate": first, "difference": last - first, "difference_se": 0.01,
        "proxy_change": moved, "proxy_change_se": 0.01, "proxy_sd": 1.0, "proxy_start": 0.0, "proxy_end": moved,
    }  # fmt: skip
    return Member(
        name="-".join([row, *(f"{key}={value}" for key, value in setting.items()), f"seed={seed}"]),
        row=row,
        setting=setting,
        seed=seed,
        stage="offline" if row.startswith(("SIMPO", "DPO")) else "online",
        status="finished",
        config={"lr": 1e-3, **(config or {})},
        outcome=Outcome(label, "" if label else "no label", numbers if label else {}),
        series={name: points(values) for name, values in (series or {}).items()},
        won={10 * place: wins(rate) for place, rate in enumerate(rates)},
        proxy={
            10 * place: {prompt: score + 0.001 * i for i, prompt in enumerate(PROMPTS)}
            for place, score in enumerate(proxy)
        },
    )


def study(
    runs: Sequence[Member], planned: Sequence[tuple[str, Setting, int]] = (), scale: str = "miniature"
) -> Members:
    """These runs, and others that were planned but left no record."""
    every = [*((one.row, one.setting, one.seed) for one in runs), *planned]
    return Members("a study", scale, tuple(runs), tuple(every))


def online(kl: float = 1.0, bonus: float = 0.5, end: float | None = None) -> dict[str, Sequence[float] | float]:
    """Series of an online run; `end` makes KL grow linearly to it."""
    return {
        "rlhf_reward": np.linspace(0, 1, UPDATES).tolist(),
        "score_mean": np.linspace(0, 0.5, UPDATES).tolist(),
        "bonus_mean": bonus,
        "neg_logp_tok": 0.7,
        "kl_ref": kl if end is None else np.linspace(0, end, UPDATES).tolist(),
        "kl_prev": 0.01,
    }


OFFLINE = (
    "loss", "grad_norm", "rewards_acc", "rewards_margin", "logits_chosen", "logits_rejected", "rewards_chosen",
    "rewards_rejected", "logps_chosen_sum", "logps_rejected_sum", "logps_chosen_mean", "logps_rejected_mean",
)  # fmt: skip


def offline(fall: float = 0.5) -> dict[str, Sequence[float] | float]:
    """Series of an offline run, in which log-probabilities per token fall by `fall`."""
    falling = np.linspace(-1, -1 - fall, UPDATES).tolist()
    chosen: dict[str, Sequence[float] | float] = dict.fromkeys(OFFLINE, 1.0)
    return chosen | {"logps_chosen_mean": falling, "logps_chosen_sum": [10 * value for value in falling]}


def whole(seeds: Sequence[int] = (0, 1, 2)) -> Members:
    """A study with records for every figure."""
    runs = []
    for seed in seeds:
        for size in ("1B", "2.8B", "6.9B"):
            runs.append(run(f"KL-{size}", {}, seed, online(1.0 + seed)))
        for row in ("ME-1B-1e-6", "ME-1B-1e-7", "ME-2.8B-1e-7", "ME-2.8B-5e-8", "ME-6.9B-1e-6", "ME-6.9B-1e-7"):
            for coef in (0.0, 0.5):
                runs.append(run(row, {"coef": coef}, seed, online(bonus=coef, end=10.0 + seed)))
        runs.append(
            run("DPO-1B", {}, seed, offline() | {"ref_margin": [-1.0, 1.0] * 10}, config={"loss": {"beta": 0.05}})
        )
        for row in ("SIMPO-1B-2e-7", "SIMPO-1B-1e-6"):
            for gamma in (0.0, 0.5):
                config = {"loss": {"alpha": 2.0, "gamma": gamma}}
                runs.append(run(row, {"gamma": gamma}, seed, offline(), config=config))
    return study(runs)
