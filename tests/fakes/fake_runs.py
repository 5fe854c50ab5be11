"""Run directories for reports, written by hand within milliseconds: what is in them is what a test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from overopt.records import RunWriter

POSTS = 10
"""Prompts of every evaluation."""

ONLINE = {"stage": "online", "task": {"name": "miniature"}, "regularizers": [{"name": "kl", "coef": 0.2}], "lr": 5e-4}
OFFLINE = {"stage": "offline", "task": {"name": "miniature"}, "loss": {"name": "simpo", "alpha": 2.0}, "lr": 1e-4}


@dataclass(frozen=True)
class Evaluated:
    """One evaluation: of ten posts the first `wins` are won; proxy and gold of post i are these plus i / 100."""

    step: int
    wins: int
    proxy: float | None = 0.0
    gold: float | None = -1.0
    kl: float | None = 0.0
    length: int = 10
    texts: Sequence[str] | None = None
    """A completion a post; otherwise `mom sold car`."""
    prompt: str = "my mom sold the car ."


BETTER = (Evaluated(0, 4), Evaluated(10, 8, 0.5, -0.5, 1.0), Evaluated(20, 10, 1.0, -0.2, 2.0))
WORSE = (Evaluated(0, 4), Evaluated(10, 2, 2.0, -4.0, 9.0), Evaluated(20, 0, 3.0, -9.0, 25.0, length=20))
"""With ten posts, paired differences of +.6 and -.4 exceed two standard errors."""


def online_run(path: Path, evaluations: Sequence[Evaluated] = BETTER, **options: Any) -> Path:
    """A run whose metrics at step t are simple functions of t."""
    last = max((evaluation.step for evaluation in evaluations), default=20)
    metrics = [
        {"step": t, "lr": 5e-4, "score_mean": t / 10, "rlhf_reward": t / 10 - 0.1, "kl_ref": t / 4, "entropy_tok": 0.5,
         "kl_prev": 0.01 * t, "kl_prev_reverse": 0.02 * t, "len_mean": 10 + t, "eos_rate": 1.0, "grad_norm": 1.0}
        for t in range(1, last + 1)
    ]  # fmt: skip
    return write_run(path, ONLINE, evaluations, metrics, **options)


def offline_run(path: Path, evaluations: Sequence[Evaluated] = BETTER, **options: Any) -> Path:
    last = max((evaluation.step for evaluation in evaluations), default=20)
    metrics = [
        {"step": t, "lr": 1e-4, "loss": 1 / t, "rewards_acc": 0.5, "rewards_margin": t / 5, "grad_norm": 2.0,
         "logps_chosen_sum": -t, "logps_rejected_sum": -2.0 * t, "logps_chosen_mean": -t / 10, "ref_margin": 0.25}
        for t in range(1, last + 1)
    ]  # fmt: skip
    return write_run(path, OFFLINE, evaluations, metrics, **options)


def base_run(path: Path, stage: str = "sft") -> Path:
    return write_run(path, {"stage": stage, "task": "miniature"}, [Evaluated(5, 4)], [{"step": 5, "loss": 1.0}])


def write_run(
    path: Path,
    config: dict[str, Any],
    evaluations: Sequence[Evaluated],
    metrics: Sequence[dict[str, Any]],
    *,
    status: str | None = "finished",
    changes: dict[str, Any] | None = None,
    **info: Any,
) -> Path:
    """`changes` go into the configuration, `info` into `run.json`; a run without a status is still going."""
    config = {"seed": 0, **config, **(changes or {})}
    first = {"stage": config["stage"], "name": path.name, "seed": config["seed"], "steps": 20, "split": "tuning"}
    with RunWriter.create(path, yaml.safe_dump(config), first | info) as writer:
        for row in metrics:
            writer.log(row["step"], {name: value for name, value in row.items() if name != "step"})
            writer.log_timings(row["step"], {"elapsed": 6.0 * row["step"], "tokens": 100})
        for evaluation in evaluations:
            _evaluate(writer, evaluation)
        if status is not None:
            writer.finish(status)
    return path


def _evaluate(writer: RunWriter, one: Evaluated) -> None:
    rows = [_sample(one, post) for post in range(POSTS)]
    writer.write_samples(one.step, rows)
    rate = one.wins / POSTS
    row: dict[str, Any] = {"step": one.step, "split": "tuning", "judge": "gold", "prompt_set": "x", "n": POSTS}
    row |= {"win_rate": rate, "win_rate_low": max(0.0, rate - 0.2), "win_rate_high": min(1.0, rate + 0.2)}
    row |= {"win_difference": rate - 0.4, "win_difference_se": 0.1, "len_mean": float(one.length), "eos_rate": 1.0}
    numbers = {"proxy_mean": one.proxy, "gold_mean": one.gold, "kl_ref": one.kl}
    writer.log_evaluation(row | {name: value for name, value in numbers.items() if value is not None})


def _sample(one: Evaluated, post: int) -> dict[str, Any]:
    return {
        "prompt_id": f"post {post}",
        "split": "tuning",
        "judge": "gold",
        "prompt": one.prompt,
        "reference": "mom sold car",
        "completion": one.texts[post] if one.texts else "mom sold car",
        "ended": True,
        "proxy": None if one.proxy is None else one.proxy + post / 100,
        "gold": None if one.gold is None else one.gold + post / 100,
        "outcome": float(post < one.wins),
        "length": one.length + post,
        "logp": -3.0,
    }
