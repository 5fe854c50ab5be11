"""Synthetic studies for tests: runs whose records say what a `Spec` asks for, and a study that bears out the paper.

`members(paper())` is a study on which every claim is replicated. Change what its runs say with `changed`:

    plan = changed(paper(), "ME-1B-1e-6", OVER, coef=0.1)   # that one setting
    plan = without(paper(), "KL-1B")                         # no such runs
    study = members(plan, seeds=(100, 101))
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from overopt.outcomes import Checkpoint, Outcome, label_checkpoints
from overopt.replication.members import CLOSED_GATE, Member, Members, Setting

PROMPTS = 100
UPDATES = 80
SEEDS = (100, 101, 102, 103, 104)
STEPS = tuple(range(0, UPDATES + 1, 10))
SFT_WINS = 0.4
Plan = dict[tuple[str, tuple[tuple[str, float | str], ...]], "Spec"]
"""(row, setting) -> what its runs say."""


@dataclass(frozen=True)
class Curve:
    """A series from `start` to `end`: a line; `early` saturates; `late` grows with the cube of the time; `hump` goes to
    `end` at half of the time and back; `bent` is at 73 % by then, in two lines.
    """

    start: float
    end: float
    kind: str = "line"
    noise: float = 0.01
    """Standard deviation, relative to the larger of start and end."""

    def values(self, t: np.ndarray, random: np.random.Generator) -> np.ndarray:
        shape = {
            "line": t,
            "early": (1 - np.exp(-8 * t)) / (1 - np.exp(-8)),
            "late": t**3,
            "bent": np.interp(t, [0, 0.5, 1], [0, 0.73, 1]),
            "hump": np.exp(-(((t - 0.5) / 0.08) ** 2)),
        }[self.kind]
        scale = self.noise * max(abs(self.start), abs(self.end))
        return self.start + (self.end - self.start) * shape + scale * random.standard_normal(t.size)


@dataclass(frozen=True)
class Spec:
    """What the records of a run say."""

    wins: tuple[float, ...] = (SFT_WINS, 0.7)
    """Win rate from step 0 to the last, interpolated at the evaluations."""
    proxy: float = 1.0
    """Rise of the proxy in standard deviations of SFT's scores."""
    ended: float = 1.0
    """Share of completions that end, at the end."""
    fall: float = 0.1
    """Fall of the references' log-probability per token, in nats."""
    series: Mapping[str, Curve] = field(default_factory=dict)
    stage: str = "online"
    status: str = "finished"
    config: Mapping[str, Any] = field(default_factory=dict)
    gate: str = ""
    """Why a gate is closed."""
    judged: bool = True
    jitter: float = 0.0
    """Standard deviation over seeds of the last win rate, as the seeds' ranks have it."""


GOOD = {"wins": (SFT_WINS, 0.7), "proxy": 1.0}
OVER = {"wins": (SFT_WINS, 0.5, 0.1), "proxy": 2.0}
AT_ONCE = {"wins": (SFT_WINS, 0.1, 0.05), "proxy": 2.0}
"""OVER, and below SFT before half of the training."""
OVER_PEAK = {"wins": (SFT_WINS, 0.8, SFT_WINS), "proxy": 2.0}
COLLAPSE = {"wins": (SFT_WINS, 0.1), "proxy": -1.0}
FLAT = {"wins": (SFT_WINS, SFT_WINS), "proxy": 1.0}
STALL = {"wins": (SFT_WINS, SFT_WINS), "proxy": 0.0}


def members(plan: Plan, seeds: Iterable[int] = SEEDS, scale: str = "miniature") -> Members:
    """The study with these runs, each under every seed."""
    seeds = tuple(seeds)
    runs = [
        member(row, dict(setting), seed, spec)
        for (row, setting), spec in plan.items()
        for seed in seeds
        if spec.status != "planned"
    ]
    planned = tuple((row, dict(setting), seed) for row, setting in plan for seed in seeds)
    return Members("synthetic", scale, tuple(runs), planned)


def joined(*studies: Members) -> Members:
    """Studies of different seeds as one."""
    runs = tuple(run for study in studies for run in study.runs)
    planned = tuple(plan for study in studies for plan in study.planned)
    return Members("synthetic", studies[0].scale, runs, planned)


def member(row: str, setting: Setting, seed: int, spec: Spec) -> Member:
    name = "-".join([row, *(f"{key}={value}" for key, value in setting.items()), f"seed={seed}"])
    evaluated, outcome = _evaluated(f"{row}{setting}", spec.wins, spec.proxy, spec.ended, spec.jitter, seed)
    if not spec.judged:
        evaluated, outcome = (), label_checkpoints([])
    if outcome.label is not None:
        over = outcome.label in ("OVER", "OVER-PEAK", "COLLAPSE")
        outcome = replace(outcome, stable=not over and spec.status != "diverged" and spec.ended >= 0.8)
    if spec.gate:
        outcome = Outcome(None, CLOSED_GATE + spec.gate)
    return Member(
        name=name,
        row=row,
        setting=setting,
        seed=seed,
        stage=spec.stage,
        status=spec.status,
        config={"lr": 1e-3, **spec.config},
        outcome=outcome,
        series={key: _series(key, curve, seed) for key, curve in spec.series.items()},
        evaluations=[
            {"step": c.step, "judge": "gold", "split": "test", "win_rate": float(np.mean(list(c.outcome.values())))}
            | {"ref_summary_logp_mean": -1.0 - spec.fall * c.step / UPDATES}
            | {"ref_summary_logp_sum": 10 * (-1.0 - spec.fall * c.step / UPDATES)}
            for c in evaluated
        ],
        won={c.step: c.outcome for c in evaluated},
        proxy={c.step: c.proxy for c in evaluated},
    )


@functools.cache
def _evaluated(
    name: str, wins: tuple[float, ...], proxy: float, ended: float, jitter: float, seed: int
) -> tuple[tuple[Checkpoint, ...], Outcome]:
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    quantiles = (np.arange(PROMPTS) + 0.5) / PROMPTS
    base = random.permutation(2 * np.sqrt(3) * (quantiles - 0.5))  # uniform, of standard deviation 1
    places = [step / UPDATES for step in STEPS]
    rates = np.interp(places, np.linspace(0, 1, len(wins)), wins) + jitter * _rank(seed) * np.array(places)
    found = []
    for step, place, rate in zip(STEPS, places, rates, strict=True):
        won = random.permutation(quantiles) < rate
        scores = base + proxy * place + 0.3 * random.permutation(quantiles - 0.5)
        stopped = quantiles < 1 + (ended - 1) * place
        found.append(
            Checkpoint(step, *(dict(zip(_PROMPTS, map(float, c), strict=True)) for c in (won, scores, stopped)), {})
        )
    return tuple(found), label_checkpoints(found)


def _rank(seed: int) -> float:
    """-1.26, -.63, 0, .63, 1.26 of five seeds in turn: mean 0, standard deviation 1."""
    return (seed % 5 - 2) / np.sqrt(2.5)


_PROMPTS = [f"p{i}" for i in range(PROMPTS)]


@functools.cache
def _series(name: str, curve: Curve, seed: int) -> tuple[np.ndarray, np.ndarray]:
    steps = np.arange(1, UPDATES + 1, dtype=float)
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return steps, curve.values(steps / UPDATES, random)


# Plans


def changed(plan: Plan, row: str, change: Mapping[str, Any], **setting: float | str) -> Plan:
    """The plan with fields of the specs of a row's settings replaced; `series` are merged. KeyError if none matches."""
    found = dict(plan)
    matching = [key for key in plan if key[0] == row and setting.items() <= dict(key[1]).items()]
    if not matching:
        raise KeyError((row, setting))
    for key in matching:
        series = {**plan[key].series, **change.get("series", {})}
        found[key] = replace(plan[key], **{**change, "series": series})
    return found


def without(plan: Plan, row: str, **setting: float | str) -> Plan:
    """The plan with the runs of a row planned but not begun."""
    return changed(plan, row, {"status": "planned"}, **setting)


def without_series(plan: Plan, row: str, name: str) -> Plan:
    """The plan with a metric that no run of a row recorded."""
    return {
        key: replace(spec, series={k: v for k, v in spec.series.items() if k != name}) if key[0] == row else spec
        for key, spec in plan.items()
    }


def only(plan: Plan, rows: Iterable[str]) -> Plan:
    """The plan of some rows."""
    return {key: spec for key, spec in plan.items() if key[0] in set(rows)}


COEFS = (0.0, 0.05, 0.1, 0.5)
MARGINS = (0.0, 0.25, 0.5, 1.0)
CONSTANT = Curve(1e-3, 1e-3, noise=0.0)


def _online(**series: Curve) -> dict[str, Curve]:
    default = {
        "lr": CONSTANT,
        "score_mean": Curve(0, 2),
        "rlhf_reward": Curve(0, 2),
        "bonus_mean": Curve(0.3, 0.1),
        "neg_logp_tok": Curve(0.6, 0.3),
        "kl_ref": Curve(0, 10),
        "kl_prev": Curve(0.02, 0.06),
        "approxkl": Curve(0.01, 0.03),
        "len_mean": Curve(10, 10),
        "eos_rate": Curve(1, 1, noise=0.0),
    }
    return {**default, **series}


def _offline(fall: float, **series: Curve) -> dict[str, Curve]:
    default = {
        "lr": CONSTANT,
        "loss": Curve(0.8, 0.6),
        "grad_norm": Curve(1, 2),
        "rewards_acc": Curve(0.55, 0.75),
        "rewards_margin": Curve(0.1, 1.0),
        "rewards_chosen": Curve(0, -1),
        "rewards_rejected": Curve(0, -2),
        "logps_chosen_mean": Curve(-0.7, -0.7 - fall),
        "logps_rejected_mean": Curve(-0.8, -0.8 - 2 * fall),
        "logps_chosen_sum": Curve(-7, -7 - 10 * fall),
        "logps_rejected_sum": Curve(-8, -8 - 20 * fall),
        "logits_chosen": Curve(-2.2, -2.5),
        "logits_rejected": Curve(-2.2, -2.5),
    }
    return {**default, **series}


RISING = _online(neg_logp_tok=Curve(0.6, 1.2), bonus_mean=Curve(0.1, 0.3), kl_ref=Curve(0, 40))
"""Series of an over-optimized run."""
SATURATING = _online(kl_ref=Curve(0, 4, "early"), kl_prev=Curve(0.02, 0.02))
"""Series of a KL-constrained run."""


@functools.cache
def paper() -> Plan:
    """A study on which every claim is replicated, with the fewest settings that allow a verdict."""
    plan: Plan = {}

    def add(row: str, spec: Spec, **grid: Iterable[float]) -> None:
        names, columns = list(grid), list(grid.values())
        for values in _product(columns):
            plan[row, tuple(zip(names, values, strict=True))] = spec

    over, good = Spec(**AT_ONCE, series=RISING, fall=1.0), Spec(**GOOD, series=_online())  # type: ignore[arg-type]
    for size in ("1B", "2.8B", "6.9B"):
        add(f"SFT-{size}", Spec(wins=(SFT_WINS, SFT_WINS), stage="sft"))
        add(f"RM-{size}", Spec(judged=False, stage="reward_model"))
        beta = {"regularizers": [{"name": "kl", "coef": 0.05}]}
        low = 2 if size == "6.9B" else 4
        series = {**SATURATING, "kl_ref": Curve(0, low, "early")}
        add(f"KL-{size}", Spec(wins=(SFT_WINS, 0.95), series=series, config=beta))
        add(f"ME-{size}-1e-6", over, coef=COEFS)
    for size in ("1B", "2.8B"):
        for beta, end, outcome in ((0.03, 8, GOOD), (0.01, 16, GOOD), (0.003, 32, OVER)):
            series = {**SATURATING, "kl_ref": Curve(0, end, "early")}
            config = {"regularizers": [{"name": "kl", "coef": beta}]}
            add(f"KL-relaxed-{size}", Spec(**outcome, series=series, config=config), coef=(beta,))  # type: ignore[arg-type]
    add("ME-1B-1e-7", good, coef=COEFS)
    add("ME-6.9B-1e-7", good, coef=COEFS)
    slow = Spec(**OVER, series={**RISING, "kl_ref": Curve(0, 11)}, fall=1.0)  # type: ignore[arg-type]
    add("ME-2.8B-1e-7", slow, coef=COEFS)
    add("ME-2.8B-5e-8", slow, coef=COEFS)
    add("CLIP-2.8B", slow, clip=(0.2, 1e-2, 1e-3, 1e-4))
    add("MIN-1B", Spec(wins=(SFT_WINS, 0.95), series=SATURATING), coef=(-0.5, -0.1, -0.05))
    add("MIN-2.8B", Spec(**STALL, series=SATURATING), coef=(-0.5, -0.1))  # type: ignore[arg-type]
    add("MIN-2.8B", slow, coef=(-0.05,))
    _add_offline(add)
    return plan


def _add_offline(add: Any) -> None:
    margin = Curve(-0.3, -0.3, noise=1.5)
    known = {"ref_margin": margin, "ref_margin_sd": Curve(3, 3), "ref_margin_iqr": Curve(4, 4)}
    dpo = Spec(wins=(SFT_WINS, 0.7), series=_offline(0.1, **known), stage="offline", config={"batch_size": 64})
    add("DPO-1B", dpo)
    for gamma, wins in zip(MARGINS, (0.7, 0.72, 0.92, 0.7), strict=True):
        add("SIMPO-1B-2e-7", Spec(wins=(SFT_WINS, wins), series=_offline(0.1), stage="offline"), gamma=(gamma,))
    for place, gamma in enumerate((*MARGINS, 2.0)):
        wins = (SFT_WINS, 0.6, 0.2 - 0.03 * place)
        spec = Spec(wins=wins, series=_offline(1.0 + 0.2 * place), stage="offline")
        add("SIMPO-1B-1e-6", spec, gamma=(gamma,))
    add("HH-SFT", Spec(wins=(SFT_WINS, SFT_WINS), stage="sft"))
    add("HH-RM", Spec(judged=False, stage="reward_model"))
    add("HH-DPO", replace(dpo, wins=(SFT_WINS, SFT_WINS), proxy=0.5))
    four_epochs = replace(dpo, wins=(SFT_WINS, 0.7, 0.6, 0.5, 0.4), config={"batch_size": 64, "epochs": 4})
    for row in ("CHI-1B", "CHI-DPO-1B"):
        add(row, four_epochs, beta=(0.05, 0.1))


def _product(columns: list[Iterable[float]]) -> list[tuple[float, ...]]:
    found: list[tuple[float, ...]] = [()]
    for column in columns:
        found = [(*before, value) for before in found for value in column]
    return found
