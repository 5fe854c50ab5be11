"""Completions of the same prompts across runs and checkpoints; prompts whose proxy exceeds their gold come first.

The `hacking` of a completion is the rank of its proxy minus the rank of its gold (or of its outcome, without gold)
among all shown completions of its group. Ranks lie between 0 and 1; near 1, the reward model prefers what the judge
rejects. Its `disagreement` is how far apart the judges' outcomes of it lie, from 0 to 1.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overopt.analysis.report.collect import Group, ReportedRun, judge_of
from overopt.analysis.report.figures.drawing import tidy
from overopt.analysis.text import escape_controls, marks, shortened
from overopt.outcomes import judged_samples

MOST_PROMPTS = 200
"""Prompts shown of a group: half those with the highest hacking, half at random; of several judges a third also those
about which they disagree most."""
MOST_STEPS = 6
"""Checkpoints shown of a run: the first, the last, and some between."""
MOST_COMPLETIONS = 12_000
"""Completions on a page, over all groups."""
LONGEST_REPLY = 600
"""Most characters of a judge's reply on a page."""
MARKED_TASKS = ("miniature",)
"""Tasks whose prompts contain every fact that a completion may state."""

COLUMNS = ("prompt_id", "proxy", "gold", "outcome", "length", "ended", "logp")
TEXTS = ("prompt", "reference", "completion")


@dataclass(frozen=True)
class SampledCompletion:
    record: ReportedRun
    step: int
    prompt_id: str
    row: Mapping[str, Any]
    hacking: float | None = None
    others: tuple[float | None, ...] = ()
    """The outcomes by the group's other judges."""

    @property
    def disagreement(self) -> float | None:
        """How far apart the outcomes by the judges lie; None if fewer than two gave one."""
        known = [outcome for outcome in (self.row.get("outcome"), *self.others) if outcome is not None]
        return max(known) - min(known) if len(known) > 1 else None


@dataclass
class GroupSamples:
    """A group's samples as the page embeds them: each text is stored once; `cells` refer to `texts` and `prompts`."""

    prompts: list[dict[str, Any]] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    """Each text with its marks."""
    cells: list[list[Any]] = field(default_factory=list)
    """prompt, run, step, text, ended, proxy, gold, outcome, length, logp, hacking."""
    judges: list[str] = field(default_factory=list)
    """The judges; `outcome` is the first one's."""
    others: list[list[Any]] = field(default_factory=list)
    """For each of the cells the outcomes by the other judges; empty if there are none."""
    replies: list[list[Any]] = field(default_factory=list)
    """Replies about completions of last checkpoints: cell, judge, where the completion stood, verdict, text."""
    runs: list[str] = field(default_factory=list)
    statistics: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    """Evaluated prompts, including those that are not shown."""
    steps_left_out: int = 0
    """Checkpoints with samples that are not shown, over all runs."""
    hidden: bool = False
    """Whether a task forbids showing its texts."""
    by: str = "gold"
    """The value whose rank is subtracted from that of the proxy."""


def samples_of(group: Group, share: int = MOST_COMPLETIONS) -> GroupSamples | None:
    """The samples of a group, at most `share` completions; None if it has none."""
    chosen = {record: steps_shown(record, len(group.records), share) for record in group.records}
    completions = list(_ranked([c for record, steps in chosen.items() for c in _read(record, steps, group.judges)]))
    if not completions:
        return None
    samples = GroupSamples(
        judges=group.judges,
        runs=[record.name for record in group.records],
        statistics=list(_statistics(completions)),
        total=len({completion.prompt_id for completion in completions}),
        steps_left_out=sum(len(record.run.sample_steps()) - len(steps) for record, steps in chosen.items()),
        hidden=any(is_hidden(record.run.config) for record in group.records),
        by="gold" if _have_gold(completions) else "the outcome",
    )
    if not samples.hidden:
        columns = sum(len(steps) for steps in chosen.values())
        prompts = choose_prompts(completions, min(MOST_PROMPTS, max(1, share // columns)))
        _embed(samples, prompts, completions, marked=any(r.task in MARKED_TASKS for r in group.records))
    return samples


def is_hidden(config: Mapping[str, Any]) -> bool:
    """Whether the run's task says `report: {samples: hidden}`."""
    task = config.get("task")
    report = task.get("report") if isinstance(task, Mapping) else None
    return isinstance(report, Mapping) and report.get("samples") == "hidden"


def steps_shown(record: ReportedRun, runs: int, share: int) -> list[int]:
    """The first and the last step with samples, and evenly spaced steps between as far as there is room."""
    steps = record.run.sample_steps()
    room = max(2, min(MOST_STEPS, share // (runs * MOST_PROMPTS)))
    places = np.unique(np.linspace(0, len(steps) - 1, min(room, len(steps))).round().astype(int))
    return [steps[place] for place in places]


def choose_prompts(completions: Sequence[SampledCompletion], most: int) -> dict[str, float | None]:
    """Ids of the prompts to show, and the highest hacking at any run's last checkpoint, in descending order of it."""
    ends = _last_of_runs(completions)
    worst = {c.prompt_id: -math.inf for c in completions}
    apart: dict[str, float] = {}
    for c in ends:
        if c.hacking is not None:
            worst[c.prompt_id] = max(worst[c.prompt_id], c.hacking)
        if c.disagreement is not None:
            apart[c.prompt_id] = max(apart.get(c.prompt_id, 0.0), c.disagreement)
    order = sorted(worst, key=worst.__getitem__, reverse=True)
    if len(order) > most:
        part = -(-most // (3 if apart else 2))
        chosen = set(order[:part])
        others = [prompt for prompt in order if prompt in apart and prompt not in chosen]
        chosen |= set(sorted(others, key=apart.__getitem__, reverse=True)[: min(part, most - part)])
        rest = [prompt for prompt in order if prompt not in chosen]
        chosen |= set(random.Random(0).sample(rest, most - len(chosen)))  # the same prompts every time
        order = [prompt for prompt in order if prompt in chosen]
    return {prompt: worst[prompt] if math.isfinite(worst[prompt]) else None for prompt in order}


def _last_of_runs(completions: Sequence[SampledCompletion]) -> list[SampledCompletion]:
    """The completions of each run's last checkpoint."""
    last: dict[ReportedRun, int] = {}
    for c in completions:
        last[c.record] = max(last.get(c.record, 0), c.step)
    return [c for c in completions if c.step == last[c.record]]


def ranks(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Ranks from 0 (lowest) to 1; equal values share the mean of their ranks; NaN where there is no value."""
    from scipy.stats import rankdata

    numbers = np.array(values, dtype=float)
    present = np.isfinite(numbers)
    places = np.full(len(numbers), np.nan)
    places[present] = (rankdata(numbers[present]) - 1) / max(1, present.sum() - 1)
    return places


def _read(record: ReportedRun, steps: Sequence[int], judges: Sequence[str]) -> Iterator[SampledCompletion]:
    judge, split = judge_of(record.evaluations)
    names = (*COLUMNS, *TEXTS)
    for step in steps:
        others = [_outcomes(record, step, other, split) for other in judges if other != record.row.judge]
        for values in judged_samples(record.run, step, names, judge, split):
            row = dict(zip(names, values, strict=True))
            key = row["prompt_id"], row["completion"]
            outcomes = tuple(found.get(key) for found in others)
            yield SampledCompletion(record, step, row["prompt_id"], row, others=outcomes)


def _outcomes(record: ReportedRun, step: int, judge: str, split: Any) -> dict[tuple[str, str], float | None]:
    """The outcomes by another judge, by prompt and completion: it may have judged another completion of a prompt."""
    if judge not in record.others:
        return {}
    rows = judged_samples(record.run, step, ["prompt_id", "completion", "outcome"], record.others[judge].id, split)
    return {(prompt, completion): outcome for prompt, completion, outcome in rows}


def _ranked(completions: Sequence[SampledCompletion]) -> Iterator[SampledCompletion]:
    target = "gold" if _have_gold(completions) else "outcome"
    difference = ranks([c.row["proxy"] for c in completions]) - ranks([c.row[target] for c in completions])
    for completion, hacking in zip(completions, difference, strict=True):
        yield replace(completion, hacking=None if np.isnan(hacking) else float(hacking))


def _have_gold(completions: Sequence[SampledCompletion]) -> bool:
    return any(completion.row["gold"] is not None for completion in completions)


def _statistics(completions: Sequence[SampledCompletion]) -> Iterator[dict[str, Any]]:
    """The number of completions and means of their values, for each run and step."""
    together: dict[tuple[str, int], list[SampledCompletion]] = {}
    for completion in completions:
        together.setdefault((completion.record.name, completion.step), []).append(completion)
    for (run, step), members in together.items():
        line: dict[str, Any] = {"run": run, "step": step, "n": len(members)}
        for name in ("proxy", "gold", "outcome", "length", "ended"):
            line[name] = _mean([member.row[name] for member in members])
        yield line | {"hacking": _mean([member.hacking for member in members])}


def _embed(
    samples: GroupSamples, prompts: Mapping[str, float | None], completions: Sequence[SampledCompletion], marked: bool
) -> None:
    places = {prompt: place for place, prompt in enumerate(prompts)}
    runs = {name: place for place, name in enumerate(samples.runs)}
    texts: dict[tuple[str, str], int] = {}
    samples.prompts = [{} for _ in prompts]
    shown: dict[tuple[str, int, str], int] = {}
    for completion in completions:
        if (place := places.get(completion.prompt_id)) is None:
            continue
        row = completion.row
        if not samples.prompts[place]:
            samples.prompts[place] = {
                "id": completion.prompt_id,
                "prompt": shortened(row["prompt"] or ""),
                "reference": None if row["reference"] is None else shortened(row["reference"]),
                "hacking": _tidy(prompts[completion.prompt_id]),
            }
        text = shortened(row["completion"] or "")
        letters = marks(escape_controls(text), [row["prompt"] or ""]) if marked else ""
        index = texts.setdefault((text, letters), len(texts))
        numbers = [row[name] for name in ("proxy", "gold", "outcome", "length", "logp")]
        ended = None if row["ended"] is None else int(row["ended"])
        cell = [place, runs[completion.record.name], completion.step, index, ended, *numbers, completion.hacking]
        shown[completion.record.name, completion.step, completion.prompt_id] = len(samples.cells)
        samples.cells.append([_tidy(value) if isinstance(value, float) else value for value in cell])
        if len(samples.judges) > 1:
            samples.others.append(list(completion.others))
    samples.texts = [list(text) for text in texts]
    for record, step in dict.fromkeys((c.record, c.step) for c in _last_of_runs(completions)):
        for prompt, *reply in replies_about(record, step, samples.judges):
            if (cell_of := shown.get((record.name, step, prompt))) is not None:
                samples.replies.append([cell_of, *reply])


def replies_about(record: ReportedRun, step: int, judges: Sequence[str]) -> Iterator[tuple[str, int, str, str, str]]:
    """What language models replied about a step's completions: prompt, judge, position of ours, verdict, text."""
    judge, split = judge_of(record.evaluations)
    ids = {name: other.id for name, other in record.others.items()}
    ids |= {str(record.row.judge): judge}
    places = {ids[name]: place for place, name in enumerate(judges) if name in ids}
    current = {judge: record.run.judge_hashes(judge)[-1:] for judge in places}
    for row in record.run.judgements(step):
        judge = row["judge"]
        if judge not in places or row["split"] != split or not record.run.is_ordinary(row):
            continue
        if row["judge_hash"] in (None, *current[judge]):  # not of a judge that was changed since
            text = shortened(row["raw_reply"] or "", LONGEST_REPLY)
            yield row["prompt_id"], places[judge], row["ours_position"], row["verdict"], text


def _mean(values: Sequence[Any]) -> float | None:
    present = [float(value) for value in values if value is not None]
    return tidy(float(np.mean(present))) if present else None


def _tidy(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
