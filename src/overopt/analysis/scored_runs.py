"""Scored candidates from run directories: the completions of their checkpoints for the same prompts.

A checkpoint stores one greedy completion per prompt, so each of a prompt's candidates comes from another policy.
Choosing among them by the reward model shows which completions it prefers after policies were trained against it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overopt.analysis.best_of_n import NOT_DRAWS, ScoredPrompt, ScoredSet
from overopt.errors import UserError
from overopt.records import Run, find_runs, load_run, reading_run

WITHOUT_KL = f"a prompt's candidates come from different checkpoints and {NOT_DRAWS}"

COLUMNS = ("split", "judge", "prompt_id", "prompt", "proxy", "gold")
PLACE = ("against", "max_completion_tokens")

NAMED = 8
"""Most runs that a note names; the others are counted."""

Evaluation = tuple[str, str]
"""Split and judge."""
PromptKey = tuple[str, str]
"""Id and text of a prompt: the same id may mean another prompt under another seed."""
Scores = dict[PromptKey, tuple[float, float]]
"""Proxy and gold of one checkpoint's completions, by prompt."""
Checkpoints = dict[str, Scores]


def scored_set_of_runs(paths: Sequence[Path]) -> ScoredSet:
    """The candidates of all runs at or below the paths; unreadable runs and runs without scores are named in notes."""
    runs: list[Run] = []
    found: defaultdict[Evaluation, Checkpoints] = defaultdict(dict)
    left_out: list[str] = []
    for path in {run.resolve(): run for place in paths for run in find_runs(place)}.values():
        try:
            run, scores = _read(path, left_out)
        except UserError as error:
            left_out.append(f"left out: {error}")
            continue
        runs.append(run)
        for evaluation, checkpoints in scores.items():
            found[evaluation] |= checkpoints
    if not runs:
        raise UserError("\n".join([f"no run with scored completions at or below {_listed(paths)}", *left_out]))
    _refuse_several_reward_models(runs)
    evaluation = max(found, key=lambda key: len(found[key]))
    prompts, incomplete = _complete_prompts(found[evaluation], runs)
    notes = [
        f"{len(found[evaluation])} checkpoints of {_listed([run.name for run in runs])}; "
        f"split {evaluation[0]}, judge {evaluation[1]}"
    ]
    if incomplete:
        notes.append(f"left out: {incomplete} prompt{'s' * (incomplete > 1)} that not every checkpoint completed")
    name = paths[0].resolve().name + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    return ScoredSet(name, prompts, "reward model", "gold", WITHOUT_KL, (*notes, *left_out))


def _read(path: Path, left_out: list[str]) -> tuple[Run, dict[Evaluation, Checkpoints]]:
    with reading_run(path):
        run = load_run(path)
        found = _scores_of(run, left_out)
    if not found:
        raise UserError(f"{path}: no completion has both proxy and gold")
    return run, found


def _scores_of(run: Run, left_out: list[str]) -> dict[Evaluation, Checkpoints]:
    """Scores by evaluation and checkpoint. Step 0 counts once for all runs that started from the same policy."""
    start = _parent(run, "policy") or str(run.path)
    found: defaultdict[Evaluation, Checkpoints] = defaultdict(lambda: defaultdict(dict))
    for step in run.sample_steps():
        checkpoint = f"{run.path}, step {step}" if step else start
        try:
            columns = run.sample_columns(step, [*COLUMNS, *PLACE])
        except UserError as error:  # one corrupt file; the other steps can be used
            left_out.append(f"left out: {error}")
            continue
        for split, judge, prompt_id, prompt, proxy, gold, *place in zip(*columns.values(), strict=True):
            ordinary = run.is_ordinary(dict(zip(PLACE, place, strict=True)))  # of one token limit
            if ordinary and _is_score(proxy) and _is_score(gold):
                found[split, judge][checkpoint][prompt_id, prompt] = proxy, gold
    return found


def _refuse_several_reward_models(runs: Sequence[Run]) -> None:
    run_of = {_parent(run, "reward_model"): run for run in reversed(runs)}
    if len(run_of) > 1:
        one, other, *_ = (run.path for run in reversed(run_of.values()))
        raise UserError(
            f"{one} and {other}: scored by different reward models, whose scores do not compare; give runs of one"
        )


def _complete_prompts(checkpoints: Checkpoints, runs: Sequence[Run]) -> tuple[tuple[ScoredPrompt, ...], int]:
    """The prompts that every checkpoint completed, and the number of the other prompts."""
    if len(checkpoints) < 2:
        raise UserError(
            f"{runs[0].path}: only one checkpoint has scored completions, which leaves nothing to choose from; "
            'add runs, or sample one policy several times and give a JSONL of {"prompt", "candidates"}'
        )
    every = list(checkpoints.values())
    shared = [prompt for prompt in every[0] if all(prompt in scores for scores in every)]
    if len(shared) < 2:
        raise UserError(f"{_listed([run.path for run in runs])}: share fewer than two prompts; give runs of one task")
    prompts = (
        ScoredPrompt(prompt[0], *np.array([scores[prompt] for scores in every]).T)  # (checkpoints, 2) to proxy and gold
        for prompt in shared
    )
    return tuple(prompts), len({prompt for scores in every for prompt in scores}) - len(shared)


def _parent(run: Run, role: str) -> str | None:
    """The hash of a parent of the run."""
    return next((parent["hash"] for parent in run.info.get("parents", []) if parent["role"] == role), None)


def _is_score(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _listed(names: Sequence[Any]) -> str:
    more = len(names) - NAMED
    return ", ".join(map(str, names[:NAMED])) + (f" and {more} more" if more > 0 else "")
