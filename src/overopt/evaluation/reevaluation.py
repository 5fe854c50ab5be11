"""Re-evaluation: judges every kept checkpoint of a run after it has ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from overopt import config as configuration
from overopt.config import block
from overopt.engine.compute import Compute
from overopt.engine.memory import TokenBudget
from overopt.errors import UserError, say
from overopt.evaluation.evaluator import Evaluator
from overopt.evaluation.judges.scores import Judge
from overopt.models.load import load_policy, load_reward_model
from overopt.models.policy import Policy
from overopt.models.reward_model import RewardModel
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.models.verify import check_limits
from overopt.models.vocabulary import check_reference, vocabulary_differences
from overopt.records import Run, RunLock, RunWriter, hash_parent, load_run
from overopt.tasks import Miniature, Task
from overopt.types import Dropped

Fitted = TypeVar("Fitted", Policy, RewardModel)
SPLIT_SEED = {"tuning": 0, "test": 100}
"""A seed that selects the split (seeds below 100 are for tuning)."""


@block
class _Settings:
    """The fields of a saved configuration that an evaluation needs."""

    task: Task = Miniature()
    compute: Compute = Compute()


def evaluate_run(
    path: Path | str,
    judge: Judge | None = None,
    split: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Evaluate every kept checkpoint of a run and the policy it started from; return and record one row for each.

    Rows go to `evaluations/JUDGE.jsonl`. The run's own compute settings are used. `judge` is by default gold if the
    task has a gold reward, else the run's reward model.
    """
    with RunLock(Path(path)) as lock:
        load_run(path)  # before the lock, which would create the directory
        lock.acquire()
        run = load_run(path)
        if run.stage == "reward_model":
            raise UserError(f"{run.path}: a reward model writes no completions; evaluate a policy's run")
        saved = {key: run.setting(key, dict) for key in ("task", "compute")}
        settings = configuration.load(_Settings, saved, base=run.path)
        judge = judge or ("gold" if settings.task.has_gold else "reward_model")
        folders = _policies(run)
        device, bf16 = settings.compute.resolve(), settings.compute.bf16
        first = _fitted(run, load_policy(folders[0][1], device, bf16))
        evaluator = _evaluator(run, settings, judge, split, first, notice or say)
        budget, rows = TokenBudget(settings.compute.budget), []
        with RunWriter.open(run.path) as writer:
            for done, (step, folder) in enumerate(folders):
                if progress is not None:
                    progress(done, len(folders))
                policy = _fitted(run, _policy(folder, evaluator, device, bf16))
                row, samples = budget.without_gradient(partial(evaluator.evaluate, policy, step))
                writer.write_samples(step, samples)
                writer.log_reevaluation(judge, row)
                rows.append(row)
        return rows


def _policies(run: Run) -> list[tuple[int, Path]]:
    """Return steps and model folders: the parent policy's, if any, at step 0, and the run's checkpoints."""
    own = [(step, run.checkpoint(step)) for step in run.checkpoints()]
    start = _parent(run, "policy")
    if not own:
        raise UserError(f"{run.path}: has kept no checkpoint to evaluate")
    return own if start is None else [(0, start), *own]


def _parent(run: Run, role: str) -> Path | None:
    """Return the model folder of the parent in a field of the configuration; None if the field is empty.

    Its location is relative to the run, so a study that was moved finds its parents; a run that was moved without them
    finds them where they were.
    """
    if run.config.get(role) is None:
        return None
    location = run.setting(role, str)
    path = run.path / location
    if not path.exists():
        path = _as_it_was(run, role) or path
    if not path.exists():
        raise UserError(f"{run.path}: its {role} {path} is gone, which the evaluation needs for comparison; restore it")
    return load_run(path).checkpoint() if (path / "run.json").is_file() else path


def _as_it_was(run: Run, role: str) -> Path | None:
    """Return the path at which the run found a parent, if it is still there and unchanged."""
    recorded = [(Path(p["path"]), p["hash"]) for p in run.info.get("parents", []) if p["role"] == role]
    return next((path for path, known in recorded if path.exists() and hash_parent(path) == known), None)


def _evaluator(
    run: Run, settings: _Settings, judge: Judge, split: str | None, policy: Policy, notice: Callable[[str], None]
) -> Evaluator:
    task, device, bf16 = settings.task, policy.device, policy.bf16
    if judge == "gold" and not task.has_gold:
        raise UserError(f"{run.path}: its task has no gold reward; use --judge reward_model")
    reward_folder, reference_folder = _parent(run, "reward_model"), _parent(run, "reference") or _parent(run, "policy")
    if judge == "reward_model" and reward_folder is None:
        raise UserError(f"{run.path}: names no reward model to judge with; use --judge gold")
    seed = run.setting("seed", int) if split is None else SPLIT_SEED[split]
    name, records = task.evaluation(seed, Dropped())
    codec = Codec.of(policy, task.prompt_style, run.clock)
    scorer = None
    if reward_folder is not None:
        scorer = Scorer(_fitted(run, load_reward_model(reward_folder, device, bf16)), codec, notice)
        for text in scorer.notices:
            notice(text)
    reference = None if reference_folder is None else _fitted(run, load_policy(reference_folder, device, bf16))
    if reference is not None:
        check_reference(policy, reference)
    longest = run.setting("max_prompt_tokens", int)
    return Evaluator(
        task=task,
        codec=codec,
        split=name,
        records=[r for r, (ids, _) in zip(records, codec.encode(records), strict=True) if 0 < len(ids) <= longest],
        seed=run.setting("seed", int),
        max_completion_tokens=run.setting("max_completion_tokens", int),
        temperature=_temperature(run),
        judge=judge,
        scorer=scorer,
        reference=reference,
    )


def _temperature(run: Run) -> float:
    """Return the temperature at which the run samples to measure its KL to the reference."""
    names = [name for name in ("evaluation_temperature", "temperature") if name in run.config]
    return run.setting(names[0], (int, float)) if names else 1.0


def _fitted(run: Run, model: Fitted) -> Fitted:
    """Check that a model fits the token limits of the run; return the model."""
    check_limits(model, run.setting("max_prompt_tokens", int), run.setting("max_completion_tokens", int))
    return model


def _policy(folder: Path, evaluator: Evaluator, device: torch.device, bf16: bool) -> Policy:
    """Load one checkpoint; all get the same encoded prompts, so all must share the vocabulary."""
    policy = load_policy(folder, device, bf16)
    if found := vocabulary_differences(evaluator.codec.tokenizer, policy.tokenizer):
        raise UserError(
            f"{folder}: does not share the vocabulary of what its run started from (here): {'; '.join(found)}; "
            "was its tokenizer changed since?"
        )
    policy.end_ids = evaluator.codec.end_ids
    return policy
