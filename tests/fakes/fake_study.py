"""A training function that leaves records such as the study's stages leave, within milliseconds; and its helpers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overopt.errors import UserError
from overopt.records import RunWriter, load_run

POSTS = 40
RESULTS = {"kl": (32, 1.0), "none": (2, 3.0), "entropy_length_normalized": (1, 3.0), "simpo": (32, 1.0)}
"""Posts won at the end, and the proxy there, by objective. At the start 16 of 40 are won and the proxy is 0."""
COUNTED = {
    "gold_agreement": 0.8, "baseline_length_agreement": 0.6, "baseline_words_agreement": 0.7,
    "baseline_content_agreement": 0.65,
    "baseline_difference": 0.1, "baseline_difference_se": 0.02, "above_baselines": 5.0,
}  # fmt: skip
"""A reward model's agreement, and what counting reaches."""


@dataclass(frozen=True)
class Progress:
    stage: str
    step: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)


def train(config: dict[str, Any], out: Path, progress: Callable[..., None], notice: Callable[[str], None]) -> None:
    if out.exists():
        notice("finished already, left alone")
        return
    if config["seed"] == 13 and config["stage"] == "reward_model":
        raise UserError("the reward model refuses seed 13")
    stage = config["stage"]
    with RunWriter.create(out, f"stage: {stage}\n", {"stage": stage, "name": out.name, "split": "tuning"}) as writer:
        progress(Progress(stage, 1, 1, {"loss": 1.0}))
        if stage == "sft":
            evaluate(writer, 1, 16, None)
        elif stage == "reward_model":
            ratio = 0.5 if config["seed"] == 7 else 0.95
            counted = COUNTED | ({"above_baselines": 1.5} if config["seed"] == 8 else {})
            writer.log_evaluation({"step": 1, "split": "tuning", "judge": "pairs", "agreement_ratio": ratio} | counted)
        else:
            writer.log_evaluation({"step": 0, "split": "tuning", "judge": "pairs", "accuracy": 0.5})
            evaluate(writer, 0, 16, 0.0)
            blocks = config["regularizers"] or [{"name": "none"}] if stage == "online" else [config["loss"]]
            evaluate(writer, 80, *RESULTS[blocks[0]["name"]])
        writer.finish("finished")


def evaluate(writer: RunWriter, step: int, wins: int, proxy: float | None) -> None:
    """An evaluation in which the first `wins` of 40 posts are won, and its samples."""
    rows = [
        {"prompt_id": f"post {i}", "split": "tuning", "judge": "gold", "prompt": "p", "completion": "c", "ended": True,
         "outcome": float(i < wins), "proxy": None if proxy is None else proxy + 0.01 * (i % 5), "gold": -1.0}
        for i in range(POSTS)
    ]  # fmt: skip
    writer.write_samples(step, rows)
    row = {"step": step, "split": "tuning", "judge": "gold", "prompt_set": "x", "n": POSTS, "win_rate": wins / POSTS}
    row |= {"win_rate_low": wins / POSTS - 0.1, "win_rate_high": wins / POSTS + 0.1, "gold_mean": -1.0}
    writer.log_evaluation(row | ({} if proxy is None else {"proxy_mean": proxy, "kl_ref": 2.0 * (step > 0)}))


def finished_run(path: Path, wins: int, proxy: float, status: str = "finished") -> Any:
    """A run that went from 16 of 40 posts won and proxy 0 to these."""
    with RunWriter.create(path, "stage: online\n", {"stage": "online", "name": path.name}) as writer:
        evaluate(writer, 0, 16, 0.0)
        evaluate(writer, 80, wins, proxy)
        writer.finish(status)
    return load_run(path)
