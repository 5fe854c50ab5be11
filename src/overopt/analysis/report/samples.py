"""Completions of the same prompts across runs and checkpoints; prompts whose proxy exceeds their gold come first.

The `hacking` of a completion is the rank of its proxy minus the rank of its gold (or of its outcome, without gold)
among all shown completions of its group. Ranks lie between 0 and 1; near 1, the reward model prefers what the judge
rejects.
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

MOST_PROMPTS = 200
"""Prompts shown of a group: half those with the highest hacking, half at random."""
MOST_STEPS = 6
"""Checkpoints shown of a run: the first, the last, and some between."""
MOST_COMPLETIONS = 12_000
"""Completions on a page, over all groups."""
MARKED_TASKS = ("miniature",)
"""Tasks whose prompts contain every fact that a completion may state."""

COLUMNS = ("prompt_id", "split", "judge", "proxy", "gold", "outcome", "length", "ended", "logp")
TEXTS = ("prompt", "reference", "completion")


@dataclass(frozen=True)
class SampledCompletion:
    record: ReportedRun
    step: int
    prompt_id: str
    row: Mapping[str, Any]
    hacking: float | None = None


@dataclass
class GroupSamples:
    """A group's samples as the page embeds them: each text is stored once; `cells` refer to `texts` and `prompts`."""

    prompts: list[dict[str, Any]] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    """Each text with its marks."""
    cells: list[list[Any]] = field(default_factory=list)
    """prompt, run, step, text, ended, proxy, gold, outcome, length, logp, hacking."""
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
    completions = list(_ranked([c for record, steps in chosen.items() for c in _read(record, steps)]))
    if not completions:
        return None
    samples = GroupSamples(
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
    last: dict[ReportedRun, int] = {}
    for c in completions:
        last[c.record] = max(last.get(c.record, 0), c.step)
    worst = {c.prompt_id: -math.inf for c in completions}
    for c in completions:
        if c.step == last[c.record] and c.hacking is not None:
            worst[c.prompt_id] = max(worst[c.prompt_id], c.hacking)
    order = sorted(worst, key=worst.__getitem__, reverse=True)
    if len(order) > most:
        top = order[: (most + 1) // 2]
        rest = random.Random(0).sample(order[len(top) :], most - len(top))  # the same prompts every time
        order = top + [prompt for prompt in order if prompt in set(rest)]
    return {prompt: worst[prompt] if math.isfinite(worst[prompt]) else None for prompt in order}


def ranks(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Ranks from 0 (lowest) to 1; equal values share the mean of their ranks; NaN where there is no value."""
    from scipy.stats import rankdata

    numbers = np.array(values, dtype=float)
    present = np.isfinite(numbers)
    places = np.full(len(numbers), np.nan)
    places[present] = (rankdata(numbers[present]) - 1) / max(1, present.sum() - 1)
    return places


def _read(record: ReportedRun, steps: Sequence[int]) -> Iterator[SampledCompletion]:
    judge, split = judge_of(record.evaluations)
    for step in steps:
        columns = record.run.sample_columns(step, [*COLUMNS, *TEXTS])
        for values in zip(*columns.values(), strict=True):
            row = dict(zip(columns, values, strict=True))
            if row["split"] == split and row["judge"] in (judge, None):
                yield SampledCompletion(record, step, row["prompt_id"], row)


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
        samples.cells.append([_tidy(value) if isinstance(value, float) else value for value in cell])
    samples.texts = [list(text) for text in texts]


def _mean(values: Sequence[Any]) -> float | None:
    present = [float(value) for value in values if value is not None]
    return tidy(float(np.mean(present))) if present else None


def _tidy(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
