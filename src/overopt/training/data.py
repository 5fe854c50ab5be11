"""From records to tokens, and the order in which they are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar
from zlib import crc32

import numpy as np

from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.models.text import Codec
from overopt.types import Completion, Dropped, PreferenceRecord, PromptRecord

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt record and its tokens."""

    record: PromptRecord
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest prompt and completion that are used; longer ones are left out and counted."""

    prompt: int
    completion: int


def encode_prompts(codec: Codec, records: Iterable[PromptRecord], limits: Limits, dropped: Dropped) -> list[Prompt]:
    """Prompts that fit."""
    prompts = [Prompt(record, codec.prompt(record)) for record in records]
    return [p for p in prompts if _fits(p.tokens, limits.prompt, "prompt", dropped)]


def encode_demonstrations(
    codec: Codec, records: Iterable[PromptRecord], limits: Limits, dropped: Dropped
) -> list[Tree]:
    """Prompts with their references, EOS included."""
    trees = []
    for record in records:
        if record.reference is None:
            dropped.add("no reference")
            continue
        tree = Tree(codec.prompt(record), [codec.completion(Completion(record.reference))])
        if _tree_fits(tree, limits, dropped):
            trees.append(tree)
    return trees


def encode_pairs(codec: Codec, records: Iterable[PreferenceRecord], limits: Limits, dropped: Dropped) -> list[Tree]:
    """Trees of two completions, the chosen first."""
    trees = [Tree(codec.prompt(r), [codec.completion(r.chosen), codec.completion(r.rejected)]) for r in records]
    return [tree for tree in trees if _tree_fits(tree, limits, dropped)]


def _tree_fits(tree: Tree, limits: Limits, dropped: Dropped) -> bool:
    longest = max(tree.completions, key=len)
    return _fits(tree.prompt, limits.prompt, "prompt", dropped) and _fits(
        longest, limits.completion, "completion", dropped
    )


def _fits(tokens: Sequence[int], limit: int, what: str, dropped: Dropped) -> bool:
    if not tokens:
        dropped.add(f"{what} without tokens")
        return False
    if len(tokens) > limit:
        dropped.add(f"{what} longer than {limit} tokens")
        return False
    return True


def random_stream(seed: int, name: str) -> np.random.Generator:
    """The named stream of a seed; streams are independent, so that using one never moves another."""
    return np.random.default_rng([seed, crc32(name.encode())])


def batches(
    records: Sequence[T], size: int, rng: np.random.Generator, address: str, dropped: Dropped
) -> Iterator[list[T]]:
    """Batches without end: drawn without replacement, reshuffled each pass, an odd rest left out.

    `address` is the field that asks for this size, `dropped` what was left out before: a message names both.
    """
    count = len(records)
    if count < size:
        left_out = "".join(f"; left out: {n} {reason}" for reason, n in dropped.reasons.items())
        raise UserError(f"{address}: a batch needs {size} records, but there are {count} to train on{left_out}")

    def stream() -> Iterator[list[T]]:  # apart, so that the error comes at once and not with the first batch
        while True:
            order = rng.permutation(count).tolist()
            for start in range(0, count - size + 1, size):
                yield [records[i] for i in order[start : start + size]]

    return stream()


def checkpoint_steps(steps: int, every: int | None) -> set[int]:
    """Steps after which a checkpoint is kept and evaluated: every so many and the last, or at 10, 25, 50, 75, 100 %."""
    if every is None:
        return {round(steps * share) for share in (0.1, 0.25, 0.5, 0.75, 1.0)} - {0}
    return {*range(every, steps + 1, every), steps}
