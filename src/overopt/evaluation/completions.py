"""The greedy completions of a run's checkpoints: from its records where they are there, else generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from overopt import config as configuration
from overopt.config import block
from overopt.engine.compute import Compute
from overopt.engine.memory import TokenBudget
from overopt.errors import UserError
from overopt.evaluation.evaluator import Evaluator, prompt_set
from overopt.evaluation.win_rates import Row
from overopt.models.cutting import encode_cut, is_cut_of
from overopt.models.load import load_policy, load_reward_model, model_folder
from overopt.models.policy import Policy
from overopt.models.reward_model import RewardModel
from overopt.models.scorer import Scorer
from overopt.models.text import Codec
from overopt.models.verify import check_limits
from overopt.models.vocabulary import check_reference, vocabulary_differences
from overopt.pinning import at_commit, pinned
from overopt.records import Run, hash_parent, load_run
from overopt.tasks import Miniature, Task
from overopt.types import Dropped, PromptRecord

Fitted = TypeVar("Fitted", Policy, RewardModel)

MEASURED = ("kl_ref", "ref_summary_logp_sum", "ref_summary_logp_mean")
"""What an evaluation measures of a policy beside its completions."""
KEPT = ("prompt_id", "completion", "ended", "proxy", "gold", "length", "logp")
"""What a row of samples says of a completion, whoever judges it."""


@block
class Settings:
    """The fields of a saved configuration that an evaluation needs."""

    task: Task = Miniature()
    compute: Compute = Compute()

    @classmethod
    def of(cls, run: Run) -> Settings:
        settings = configuration.load(cls, {key: run.setting(key, dict) for key in ("task", "compute")}, base=run.path)
        return pinned(settings, run.info.get("hub", {}))


@dataclass(frozen=True)
class Completed:
    """One checkpoint's completions of all prompts, under one token limit."""

    step: int
    limit: int
    samples: list[Row]
    """What rows of samples say of each (`KEPT`), in the order of the prompts."""
    measured: Row
    """`MEASURED`, as far as it is known."""
    is_new: bool
    """Whether they were generated, and are not in the record yet."""


class Completions:
    """The completions of one run, for the evaluation prompts of one seed.

    Completions are used again if the record holds them for the same prompts: of the same token limit, or of another
    one that would have cut none of them.
    """

    def __init__(self, run: Run, settings: Settings, seed: int, notice: Callable[[str], None]) -> None:
        self.run, self.settings, self.seed, self.notice = run, settings, seed, notice
        self.limit = run.setting("max_completion_tokens", int)
        """The run's own limit."""
        self.split, self._task_records = settings.task.evaluation(seed, Dropped())
        self._stored = _stored(run, self.split, self.limit, self._task_records)
        rows = [row for at_step in self._stored.values() for by_id in at_step.values() for row in by_id.values()]
        texts = {row["prompt_id"]: row["prompt"] for row in rows}
        known = [record for record in self._task_records if record.prompt_id in texts]
        self._recorded = [replace(record, prompt=texts[record.prompt_id], cuttable=None) for record in known]

    @cached_property
    def records(self) -> list[PromptRecord]:
        """The prompts: the recorded ones, or else those that fit the run's limit."""
        longest = self.run.setting("max_prompt_tokens", int)
        if self._recorded:
            return self._recorded
        encoded = encode_cut(self._codec, self._task_records, (), longest, Dropped())
        return [record for record, ids, _ in encoded if 0 < len(ids) <= longest]

    @property
    def prompt_set(self) -> str:
        return prompt_set(self.records)

    def steps(self, limit: int) -> list[int]:
        """Return the steps whose completions can be had: recorded, kept as checkpoints, or the policy it started from.

        UserError if there are none but that policy's.
        """
        own = {step for step in self._stored if self._find(step, limit) is not None} | set(self.run.checkpoints())
        if not own - {0}:
            raise UserError(f"{self.run.path}: has kept no checkpoint to evaluate")
        return sorted(own | ({0} if self.run.config.get("policy") is not None else set()))

    def get(self, step: int, limit: int) -> Completed:
        """Return a checkpoint's completions under a token limit."""
        if (found := self.recorded(step, limit)) is not None:
            return found
        evaluator, policy = self._evaluator_for(limit), self._policy(step, limit)
        row, rows = self._budget.without_gradient(partial(evaluator.evaluate, policy, step))
        samples = [{name: sample[name] for name in KEPT} for sample in rows]
        return Completed(step, limit, samples, {name: row[name] for name in MEASURED if name in row}, True)

    def recorded(self, step: int, limit: int) -> Completed | None:
        """Return a checkpoint's completions if they are in the record."""
        found = self._find(step, limit)
        if found is None:
            return None
        samples = [{name: row[name] for name in KEPT} for row in found]
        return Completed(step, limit, samples, self._measured(step, limit), False)

    def _find(self, step: int, limit: int) -> list[Row] | None:
        """The recorded rows of all prompts, in their order; None if there are none for this limit."""
        at_step = self._stored.get(step, {})
        for recorded, rows in sorted(at_step.items(), key=lambda item: item[0] != limit):
            found = [rows[record.prompt_id] for record in self.records if record.prompt_id in rows]
            uncut = all(row["ended"] and row["length"] <= limit for row in found)
            if len(found) == len(self.records) and (recorded == limit or uncut):
                return found
        return None

    def _measured(self, step: int, limit: int) -> Row:
        """What earlier evaluations of the checkpoint under this limit measured."""
        for row in self._earlier_rows:
            own = row.get("max_completion_tokens", self.limit) == limit
            same = (row["step"], row.get("split"), row.get("prompt_set")) == (step, self.split, self.prompt_set)
            if same and own and any(name in row for name in MEASURED):
                return {name: row[name] for name in MEASURED if name in row}
        return {}

    @cached_property
    def _earlier_rows(self) -> list[Row]:
        return [*self.run.evaluations(), *(row for name in self.run.judges() for row in self.run.evaluations(name))]

    @cached_property
    def _budget(self) -> TokenBudget:
        return TokenBudget(self.settings.compute.budget)

    @cached_property
    def _start(self) -> Policy:
        """What the run started from, or else its first checkpoint."""
        folder = parent(self.run, "policy") or self.run.checkpoint(self.run.checkpoints()[0])
        compute = self.settings.compute
        return self._fitted(load_policy(folder, compute.resolve(), compute.bf16), self.limit)

    @cached_property
    def _codec(self) -> Codec:
        return Codec.of(self._start, self.settings.task.prompt_style, self.run.clock)

    @cached_property
    def _evaluator(self) -> Evaluator:
        """Completes prompts and measures policies; it does not judge."""
        run, start = self.run, self._start
        reward_folder, reference_folder = parent(run, "reward_model"), parent(run, "reference") or parent(run, "policy")
        scorer = reference = None
        if reward_folder is not None:
            reward_model = self._fitted(load_reward_model(reward_folder, start.device, start.bf16), self.limit)
            set_recorded_mean(self.run, reward_model)
            scorer = Scorer(reward_model, self._codec, self.notice)
            for text in scorer.notices:
                self.notice(text)
        if reference_folder is not None:
            reference = self._fitted(load_policy(reference_folder, start.device, start.bf16), self.limit)
            check_reference(start, reference)
        return Evaluator(
            task=self.settings.task,
            codec=self._codec,
            split=self.split,
            records=self.records,
            seed=run.setting("seed", int),
            max_completion_tokens=self.limit,
            temperature=_temperature(run),
            judge="none",
            scorer=scorer,
            reference=reference,
        )

    def _evaluator_for(self, limit: int) -> Evaluator:
        """The evaluator under a limit, which is checked against the positions of the other models."""
        evaluator = self._evaluator
        if evaluator.scorer is not None:
            self._fitted(evaluator.scorer.reward_model, limit)
        if evaluator.reference is not None:
            self._fitted(evaluator.reference, limit)
        return evaluator if limit == self.limit else replace(evaluator, max_completion_tokens=limit)

    def _policy(self, step: int, limit: int) -> Policy:
        """Load one checkpoint; all get the same encoded prompts, so all must share the vocabulary."""
        start = parent(self.run, "policy") if step == 0 else None
        folder = start or self.run.checkpoint(step)
        policy = load_policy(folder, self._start.device, self._start.bf16)
        if found := vocabulary_differences(self._codec.tokenizer, policy.tokenizer):
            raise UserError(
                f"{folder}: does not share the vocabulary of what its run started from (here): {'; '.join(found)}; "
                "was its tokenizer changed since?"
            )
        policy.end_ids = self._codec.end_ids
        return self._fitted(policy, limit)

    def _fitted(self, model: Fitted, limit: int) -> Fitted:
        """Check that a model fits the token limits; return the model."""
        check_limits(model, self.run.setting("max_prompt_tokens", int), limit)
        return model


def parent(run: Run, role: str) -> Path | None:
    """Return the model folder of the parent in a field of the configuration; None if the field is empty.

    Its location is relative to the run, so a study that was moved finds its parents; a run that was moved without them
    finds them where they were.
    """
    path = parent_location(run, role)
    if path is not None and not path.exists():
        raise UserError(f"{run.path}: its {role} {path} is gone, which the evaluation needs for comparison; restore it")
    return path


def set_recorded_mean(run: Run, reward_model: RewardModel) -> None:
    """Center the scores of a run's reward model as the run did, where it did not take them as they came."""
    for known in run.info.get("parents", []):
        if known["role"] == "reward_model" and "reward_mean" in known:
            reward_model.normalize(known["reward_mean"], known["reward_scale"])


def parent_location(run: Run, role: str) -> Path | None:
    """Return where a parent's model folder is, or should be if it is gone."""
    if run.config.get(role) is None:
        return None
    location, pin = run.setting(role, str), run.info.get("hub", {}).get(role)
    path = run.path / location
    if not path.exists():
        path = _as_it_was(run, role) or (path if pin is None else model_folder(at_commit(pin)))
    return load_run(path).checkpoint() if (path / "run.json").is_file() else path


def _as_it_was(run: Run, role: str) -> Path | None:
    """Return the path at which the run found a parent, if it is still there and unchanged."""
    recorded = [(Path(p["path"]), p["hash"]) for p in run.info.get("parents", []) if p["role"] == role]
    return next((path for path, known in recorded if path.exists() and hash_parent(path) == known), None)


def _stored(
    run: Run, split: str, own_limit: int, records: Sequence[PromptRecord]
) -> dict[int, dict[int, dict[str, Row]]]:
    """The recorded completions of a split: by step, token limit and prompt id; without those of other prompts.

    A long post was recorded as it was cut.
    """
    known = {record.prompt_id: record for record in records}
    found: dict[int, dict[int, dict[str, Row]]] = {}
    for step in run.sample_steps():
        for row in run.samples(step):
            if row["split"] == split and row["completion"] is not None:
                limit = row["max_completion_tokens"] or own_limit
                found.setdefault(step, {}).setdefault(limit, {}).setdefault(row["prompt_id"], row)
    return {
        step: {
            limit: rows
            for limit, rows in at_step.items()
            if all(name in known and is_cut_of(row["prompt"], known[name]) for name, row in rows.items())
        }
        for step, at_step in found.items()
    }


def _temperature(run: Run) -> float:
    """Return the temperature at which the run samples to measure its KL to the reference."""
    names = [name for name in ("evaluation_temperature", "temperature") if name in run.config]
    return run.setting(names[0], (int, float)) if names else 1.0
