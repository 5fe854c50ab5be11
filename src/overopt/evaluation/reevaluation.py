"""Re-evaluation: the completions of runs are judged again, by any judge, against the references or another run.

Three steps for each checkpoint: its completions (`completions.py`), a judge (`comparisons.py`), the numbers
(`win_rates.py`). What the run started from, step 0, is always judged in the same call, since win rates are compared
with its own. A checkpoint's numbers are recorded as soon as they are known, and a language model's answers as soon as
they arrive: the same call continues one that was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from overopt.errors import UserError, say
from overopt.evaluation.comparisons import Compared, Side, references
from overopt.evaluation.completions import Completed, Completions, Settings, parent_location
from overopt.evaluation.evaluator import means
from overopt.evaluation.judges import judge_from
from overopt.evaluation.judges.base import Comparison, Identity, JudgeProtocol, Situation
from overopt.evaluation.win_rates import Row, win_rates
from overopt.outcomes import JUDGED_STAGES
from overopt.records import REFERENCE, Run, RunLock, RunWriter, find_runs, load_run
from overopt.types import Completion

SPLIT_SEED = {"tuning": 0, "test": 100}
"""A seed that selects the split (seeds below 100 are for tuning)."""

Steps = Literal["all", "last"] | Sequence[int]
Progress = Callable[[int, int], None]
"""Called with the prompts judged so far, and all."""


def policy_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the runs that are named, and those at or below a folder that is no run and whose stage is judged."""
    found: dict[Path, None] = {}
    for path in paths:
        named = (path / "run.json").is_file()
        runs = [path] if named else [run for run in find_runs(path) if load_run(run).stage in JUDGED_STAGES]
        if not runs:
            raise UserError(f"{path}: holds no run of a trained policy")
        found |= dict.fromkeys(runs)
    return list(found)


def evaluate_run(
    path: Path | str,
    judge: JudgeProtocol | str | None = None,
    split: str | None = None,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
    *,
    against: Path | None = None,
    checkpoints: Steps = "all",
    limits: Sequence[int] = (),
) -> list[Row]:
    """Judge the checkpoints of one run; return and record a row for each. The options are those of `Reevaluation`."""
    judge = judge_from(judge) if isinstance(judge, str) else judge
    return Reevaluation(judge, against, checkpoints, split, limits).run(Path(path), progress, notice)


@dataclass
class Reevaluation:
    """What to judge, by whom and against what: the same for all runs, so that their win rates can be compared.

    Rows go to each run's `evaluations/JUDGE.jsonl`. The run's own compute settings are used.
    """

    judge: JudgeProtocol | None = None
    """None: gold if the task has a gold reward, else the run's reward model."""
    against: Path | None = None
    """A run whose last checkpoint stands in the references' place."""
    checkpoints: Steps = "all"
    split: str | None = None
    """Of the miniature's prompts, `tuning` or `test`; None: the run's own."""
    limits: Sequence[int] = ()
    """Limits on the completions' tokens, each with rows of its own; none: the run's own limit."""
    _others: dict[tuple[str, int], dict[tuple[str, str], Row]] = field(default_factory=dict)
    """The other run's completions, by split and limit, then by prompt."""

    def identify(self, paths: Sequence[Path]) -> Identity:
        """Return who will judge the runs; UserError if one cannot be judged, or not all by the same judge."""
        found: dict[Identity, Path] = {}
        for path in paths:
            run = load_run(path)
            if run.stage == "reward_model":
                raise UserError(f"{run.path}: a reward model writes no completions; evaluate a policy's run")
            situation = _situation(run, Settings.of(run), say)
            found.setdefault(self._judge_of(situation).identity(situation), path)
        (first, path), *others = found.items()
        for second, other in others:
            who = f"{first.id} and {second.id}; name one with --judge"
            if first.id == second.id:
                who = f"two judges named {first.id}, with different settings or weights"
            raise UserError(
                f"{path} and {other} would be judged by {who}. "
                "Win rates of different judges are not put into one table: evaluate these runs one by one"
            )
        return first

    def run(
        self, path: Path, progress: Progress | None = None, notice: Callable[[str], None] | None = None
    ) -> list[Row]:
        """Judge a run's checkpoints under each limit; return and record the rows."""
        notice = notice or say
        with RunLock(path) as lock:
            load_run(path)  # before the lock, which would create the directory
            lock.acquire()
            run, identity = load_run(path), self.identify([path])
            settings = Settings.of(run)
            seed = run.setting("seed", int) if self.split is None else SPLIT_SEED[self.split]
            completions = Completions(run, settings, seed, notice)
            plan = {limit: self._steps(completions, limit) for limit in self.limits or (completions.limit,)}
            count = _Count(sum(map(len, plan.values())), len(completions.records), progress)
            situation = _situation(run, settings, notice, count.within)
            with RunWriter.open(run.path) as writer:
                session = _Session(self, completions, self._judge_of(situation), identity, situation, writer, count)
                session.announce(plan)
                return [row for limit, steps in plan.items() for row in session.judge_steps(steps, limit)]

    def other_side(self, ours: Completions, limit: int) -> Side:
        """Return what a run's completions are compared with; UserError if another run's are of other prompts."""
        if self.against is None:
            if all(record.reference is None for record in ours.records):
                raise UserError(
                    f"{ours.run.path}: its prompts have no references; name a run to compare with by --against"
                )
            return references(ours.settings.task, ours.records)
        run = load_run(self.against)
        if run.stage == "reward_model":
            raise UserError(f"{run.path}: a reward model writes no completions; compare with a policy's run")
        if run.name == REFERENCE:
            raise UserError(f"{self.against}: a run named {REFERENCE} cannot be told from the references; rename it")
        if (ours.split, limit) not in self._others:
            self._others[ours.split, limit] = _last_completions(run, ours, limit)
        known = self._others[ours.split, limit]
        if missing := [record.prompt_id for record in ours.records if (record.prompt_id, record.prompt) not in known]:
            raise UserError(
                f"{self.against}: its evaluation lacks {len(missing)} of the {len(ours.records)} prompts of "
                f"{ours.run.path}, such as {missing[0]}; only runs evaluated on the same prompts can be compared"
            )
        samples = [known[record.prompt_id, record.prompt] for record in ours.records]
        completions = [Completion(sample["completion"], bool(sample["ended"])) for sample in samples]
        return Side(run.name, completions, [sample["gold"] for sample in samples])

    def _judge_of(self, situation: Situation) -> JudgeProtocol:
        if self.judge is not None:
            return self.judge
        return judge_from("gold" if situation.task is not None and situation.task.has_gold else "reward_model")

    def _steps(self, completions: Completions, limit: int) -> list[int]:
        """The steps to judge: those asked for, and the first, with which they are compared."""
        known = completions.steps(limit)
        if self.checkpoints == "all":
            return known
        wanted = known[-1:] if self.checkpoints == "last" else list(self.checkpoints)
        if missing := [step for step in wanted if step not in known]:
            raise UserError(
                f"{completions.run.path}: has neither a checkpoint of step {', '.join(map(str, missing))} nor its "
                f"completions of at most {limit} tokens, only those of {', '.join(map(str, known))}"
            )
        return sorted({known[0], *wanted})


@dataclass
class _Session:
    """One run's evaluation."""

    request: Reevaluation
    completions: Completions
    judge: JudgeProtocol
    identity: Identity
    situation: Situation
    writer: RunWriter
    count: _Count

    def announce(self, plan: Mapping[int, Sequence[int]]) -> None:
        """Say what will be judged, what that costs, and what the user may not expect."""
        run, identity, notice = self.completions.run, self.identity, self.situation.notice
        if earlier := [name for name in run.judge_hashes(identity.id) if name != identity.hash]:
            notice(
                f"{run.path}: {identity.id} was another judge before (hash {', '.join(earlier)}, now {identity.hash}): "
                "its earlier rows stay in the file, but do not count any more"
            )
        first = min(step for steps in plan.values() for step in steps)
        if first != 0:
            notice(
                f"{run.path}: there are no completions of step 0, and no policy that it started from; "
                f"win rates are compared with step {first}"
            )
        cost, unknown = self._forecast(plan)
        if cost:
            text = f"{run.path}: {identity.id} judges {self.count.checkpoints} checkpoints, one by one: {cost}"
            notice(text + (f"; and {unknown} checkpoints whose completions are not written yet" if unknown else ""))

    def _forecast(self, plan: Mapping[int, Sequence[int]]) -> tuple[str, int]:
        """What judging the recorded completions costs, and how many checkpoints have none."""
        asked: list[Comparison] = []
        unknown = 0
        for limit, steps in plan.items():
            other = self.request.other_side(self.completions, limit)
            for step in steps:
                found = self.completions.recorded(step, limit)
                unknown += found is None
                asked += [] if found is None else self._compared(found, other).comparisons().values()
        return self.judge.forecast(asked, self.situation), unknown

    def judge_steps(self, steps: Sequence[int], limit: int) -> list[Row]:
        """Judge checkpoints under one limit, and record each; the first is the baseline of the others."""
        other = self.request.other_side(self.completions, limit)
        rows, baseline = [], None
        for step in steps:
            self.count.tell()
            compared = self._compared(self.completions.get(step, limit), other)
            if compared.completed.is_new:  # kept even if the judge is stopped
                self.writer.write_samples(step, compared.samples(self.identity, [None] * len(compared.records)))
            judged = compared.judged_by(self.judge, self.situation)
            outcomes = [None if one is None else one.judgement.outcome for one in judged]
            baseline = outcomes if baseline is None else baseline
            row = self._row(compared, win_rates(judged, baseline))
            self.writer.write_samples(step, compared.samples(self.identity, outcomes))
            self.writer.write_judgements(step, compared.judgements(self.identity, judged))
            self.writer.log_reevaluation(self.identity.id, row)  # last: what it is made of is there
            rows.append(row)
            self.count.finish()
        return rows

    def _compared(self, completed: Completed, other: Side) -> Compared:
        ours = self.completions
        limit = None if completed.limit == ours.limit else completed.limit
        return Compared(ours.run.name, ours.split, ours.records, completed, other, limit)

    def _row(self, compared: Compared, found: Row) -> Row:
        completed, identity = compared.completed, self.identity
        return {
            "step": completed.step,
            "split": compared.split,
            "judge": identity.id,
            "prompt_set": self.completions.prompt_set,
            **found,
            **means(completed.samples),
            **completed.measured,
            "judge_hash": identity.hash,
            "judge_prompt": identity.prompt or None,
            "judge_prompt_hash": identity.prompt_hash or None,
            "against": compared.other.name or REFERENCE,
            "max_completion_tokens": completed.limit,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


@dataclass
class _Count:
    """How many prompts have been judged."""

    checkpoints: int
    prompts: int
    """Of each checkpoint."""
    progress: Progress | None
    done: int = 0
    """Checkpoints."""
    _share: float = 0.0
    """Of the checkpoint at hand."""

    def tell(self) -> None:
        if self.progress is not None:
            self.progress(self.done * self.prompts + round(self.prompts * self._share), self.checkpoints * self.prompts)

    def within(self, done: int, total: int) -> None:
        """Tell how far the judge is with a checkpoint. Replies that are asked for again take it no step back."""
        self._share = max(self._share, done / max(1, total))
        self.tell()

    def finish(self) -> None:
        self.done, self._share = self.done + 1, 0.0


def _situation(
    run: Run, settings: Settings, notice: Callable[[str], None], progress: Progress = lambda done, total: None
) -> Situation:
    return Situation(
        task=settings.task,
        reward_model=parent_location(run, "reward_model"),
        prompt_style=settings.task.prompt_style,
        clock=run.clock,
        compute=settings.compute,
        progress=progress,
        notice=notice,
    )


def _last_completions(run: Run, ours: Completions, limit: int) -> dict[tuple[str, str], Row]:
    """The completions of a run's last checkpoint for the prompts of another, by id and text of the prompt."""
    theirs = Completions(run, Settings.of(run), ours.seed, ours.notice)
    completed = theirs.get(theirs.steps(limit)[-1], limit)
    return {
        (record.prompt_id, record.prompt): sample
        for record, sample in zip(theirs.records, completed.samples, strict=True)
    }
