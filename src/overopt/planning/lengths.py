"""Lengths of prompts and completions: measured on a few dozen texts, taken from a policy's run, or the limit.

Texts beyond a limit are left out, as training leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from overopt.errors import UserError
from overopt.models.cutting import encode_cut
from overopt.models.text import Codec
from overopt.planning.answers import Answer, Answers
from overopt.records import load_run
from overopt.training.pairs import FromRun, Sampled, recorded_pairs
from overopt.training.stages.sft import SFT
from overopt.types import Completion, Dropped

READ = 64
"""How many texts are measured."""


@dataclass(frozen=True)
class Context:
    """What a stage's texts are read with, beside the stage itself."""

    codec: Codec
    others: Mapping[str, Any] = field(default_factory=dict)
    """The stages that are planned with it, by name."""
    ask: Answers = field(default_factory=Answers)


@dataclass(frozen=True)
class Lengths:
    """Mean and longest length, in tokens, of the texts that fit, which are the share `share` of all."""

    mean: float
    longest: int
    source: str
    share: float = 1.0


@dataclass(frozen=True)
class PairLengths:
    """Pairs or rankings of `group` completions, and how many are held out."""

    count: int
    heldout: int
    group: int
    prompt: Lengths
    completion: Lengths
    sampled: bool = False
    """Whether the stage itself samples them."""


def lengths_of(sizes: Sequence[int], limit: int, source: str) -> Lengths:
    """The lengths of texts of these sizes; the limit where none fits."""
    fitting = [size for size in sizes if 0 < size <= limit]
    if not fitting:
        return Lengths(float(limit), limit, "at their limit")
    return Lengths(mean(fitting), max(fitting), source, len(fitting) / len(sizes))


def prompts_of(stage: Any, codec: Codec, records: Sequence[Any]) -> Lengths:
    encoded = encode_cut(codec, records[:READ], (), stage.max_prompt_tokens, Dropped())
    return lengths_of([len(ids) for _, ids, _ in encoded], stage.max_prompt_tokens, "as they are")


def references_of(stage: Any, codec: Codec, records: Sequence[Any]) -> Lengths:
    """The lengths of the references of records that have one."""
    known = records[:READ]
    encoded = codec.encode(known, [[Completion(record.reference)] for record in known])
    sizes = [len(ids) for _, (ids,) in encoded]
    return lengths_of(sizes, stage.max_completion_tokens, "as the references are")


def written_from(location: str, stage: Any, context: Context) -> Lengths:
    """The lengths of what a policy writes: as its run recorded, as its demonstrations are, or the limit."""
    path, limit = Path(location), stage.max_completion_tokens
    if (path / "run.json").is_file():
        run = load_run(path)
        steps = run.sample_steps()
        sizes = run.sample_columns(steps[-1], ["length"])["length"] if steps else []
        return _cut(sizes, limit, f"as {path.name} wrote them last")
    if path.name not in context.others:
        return _cut([], limit, "")
    parent = context.others[path.name]
    if not isinstance(parent, SFT):
        return written_from(parent.policy, stage, context)
    demonstrations = context.ask(parent.task, "demonstrations", parent.seed)
    known = references_of(parent, context.codec, demonstrations.referenced)
    return known if known.longest <= limit else _cut([known.longest], limit, known.source)


def _cut(sizes: Sequence[int], limit: int, source: str) -> Lengths:
    """Sampling stops at the limit, so longer texts count as that long."""
    return lengths_of([min(size, limit) for size in sizes], limit, source)


def pairs_of(stage: Any, context: Context) -> PairLengths:
    """The pairs to train on: to be sampled, those of another run, or the task's own."""
    match stage.pairs:
        case Sampled() as pairs:
            prompts = stage.task.pair_prompts(stage.seed, pairs.count)
            completion = written_from(stage.policy, stage, context)
            heldout = context.ask(stage.task, "reward_test_prompts", stage.seed).count
            prompt = prompts_of(stage, context.codec, prompts)
            return PairLengths(len(prompts), heldout, pairs.per_prompt, prompt, completion, sampled=True)
        case FromRun() as pairs:
            path = Path(pairs.path)
            if (path / "run.json").is_file():
                recorded = recorded_pairs(path)
                known = _stored(stage, context.codec, Answer.of_ranked(recorded.train), len(recorded.heldout))
                return _limited(pairs, known)
            if path.name in context.others:
                return _limited(pairs, replace(pairs_of(context.others[path.name], context), sampled=False))
            raise UserError(f"pairs.path: {path} is no run; make it first, or plan it too")
        case _:
            heldout = context.ask(stage.task, "evaluation_preferences", stage.seed).count
            return _stored(stage, context.codec, context.ask(stage.task, "preferences", stage.seed), heldout)


def _limited(pairs: FromRun, lengths: PairLengths) -> PairLengths:
    return replace(lengths, count=pairs.used(lengths.count))


def _stored(stage: Any, codec: Codec, train: Answer, heldout: int) -> PairLengths:
    read = train.first[:READ]
    prompt = prompts_of(stage, codec, read)
    encoded = codec.encode(read, [record.ranked for record in read])
    completions = [[len(ids) for ids in ranked] for _, ranked in encoded]
    fitting = [sizes for sizes in completions if max(sizes) <= stage.max_completion_tokens]
    sizes = [n for sizes in fitting for n in sizes]
    completion = lengths_of(sizes, stage.max_completion_tokens, "as the pairs are")
    share = prompt.share * len(fitting) / max(1, len(completions))
    return PairLengths(round(share * train.count), heldout, train.size, prompt, completion)
