"""A study of five runs without a file, and how to run studies with the fake training function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overopt.scheduler import Result
from overopt.studies.expand import ExpandedStudy, SingleRun
from overopt.studies.run import StudyRun, run_studies
from overopt.studies.study import Gate

JUDGED = ["kl", "none", "maxent-0.5", "maxent-2", "maxent-0.5-low-lr", "simpo-low-lr", "simpo-high-lr"]
ONLINE = {"stage": "online", "policy": "runs/sft", "reward_model": "runs/rm", "lr": 1e-4, "seed": 0}


def single(name: str, parents: tuple[str, ...] = (), **config: Any) -> SingleRun:
    return SingleRun(name, {"seed": 0, **config}, parents, 1.0)


def little(out: Path, seed: int = 0, *more: SingleRun) -> StudyRun:
    """SFT and a reward model, whose seed decides what becomes of it, two online runs, and a run of its own."""
    runs = [
        single("sft", stage="sft"),
        single("rm", ("sft",), stage="reward_model", policy="runs/sft", seed=seed),
        single("kl-seed=0", ("sft", "rm"), **ONLINE, regularizers=[{"name": "kl", "coef": 0.2}]),
        single("none-seed=0", ("sft", "rm"), **ONLINE, regularizers=[]),
        single("lone", stage="sft"),
        *more,
    ]
    gate = Gate(run="rm", value="agreement_ratio", at_least=0.8)
    study = ExpandedStudy("little", "little", {run.name: run for run in runs}, (gate,))
    return StudyRun(study, out, {"study": "little", "sweep": True}, "little", tuple(study.runs))


def run(*studies: StudyRun, **options: Any) -> dict[str, Result]:
    return run_studies(studies, workers=2, train="fake_study:train", **options)
