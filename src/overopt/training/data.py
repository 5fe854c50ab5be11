"""Encodes records as tokens, and draws batches of them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar
from zlib import crc32

import numpy as np

from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.models.cutting import encode_cut
from overopt.models.text import RECORDS_PER_BATCH, Codec
from overopt.spooled import Spooled, in_chunks, where
from overopt.types import Completion, Dropped, Preference, PromptRecord

T = TypeVar("T")
_FIELDS = [field.name for field in fields(PromptRecord)]


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


def encode_prompts(codec: Codec, records: Iterable[PromptRecord], limits: Limits, dropped: Dropped) -> Spooled[Prompt]:
    """The prompts that fit, with their tokens; long posts cut (`models/cutting.py`)."""
    prompts = (
        Prompt(record, ids)
        for some in in_chunks(records, RECORDS_PER_BATCH)
        for record, ids, _ in encode_cut(codec, some, (), limits.prompt, dropped)
    )
    fitting = (prompt for prompt in prompts if _fits(prompt.tokens, limits.prompt, "prompt", dropped))
    return Spooled.of(fitting, _frozen_prompt, _thawed_prompt)


def encode_demonstrations(
    codec: Codec, records: Iterable[PromptRecord], limits: Limits, dropped: Dropped
) -> Sequence[Tree]:
    """Trees of the prompts and their references, EOS included."""

    def trees() -> Iterator[Tree]:
        for some in in_chunks(records, RECORDS_PER_BATCH):
            known = [record for record in some if record.reference is not None]
            if len(known) < len(some):
                dropped.add("no reference", len(some) - len(known))
            references = [[Completion(str(record.reference))] for record in known]
            for _, prompt, completions in encode_cut(codec, known, references, limits.prompt, dropped):
                yield Tree(prompt, completions)

    fitting = (tree for tree in trees() if _tree_fits(tree, limits, codec.end_ids, dropped))
    return Spooled.of(fitting, _frozen_tree, _thawed_tree)


def encode_preferences(
    codec: Codec, records: Iterable[Preference], limits: Limits, dropped: Dropped, fitting: list[int] | None = None
) -> Sequence[Tree]:
    """A tree for each record, with its ranked completions, the best first."""
    return encode_views(codec, records, [], limits, dropped, fitting).map(lambda views: views[0])


def encode_views(
    codec: Codec,
    records: Iterable[Preference],
    prompts: Sequence[str],
    limits: Limits,
    dropped: Dropped,
    fitting: list[int] | None = None,
) -> Spooled[list[Tree]]:
    """For each record its tree, and the same completions under each of `prompts`, `{prompt}` being the record's own.

    A record that does not fit under one of them is left out, and one whose different texts are the same tokens; the
    indices of the others are added to `fitting`.
    """

    def kept() -> Iterator[list[Tree]]:
        chunks = in_chunks(records, RECORDS_PER_BATCH)
        viewed = (views for some in chunks for views in _views(codec, some, prompts, limits, dropped))
        for place, views in enumerate(viewed):
            if views is not None:
                yield views
                if fitting is not None:
                    fitting.append(place)

    return Spooled.of(kept(), _frozen_views, _thawed_views)


def _views(
    codec: Codec, whole: Sequence[Preference], prompts: Sequence[str], limits: Limits, dropped: Dropped
) -> Iterator[list[Tree] | None]:
    """The views of each record; None for one that is left out."""
    own = list(encode_cut(codec, whole, [record.ranked for record in whole], limits.prompt, dropped))
    records = [record for record, _, _ in own]
    rewritten = [[in_template(prompt, record) for record in records] for prompt in prompts]
    others = [[ids for ids, _ in codec.encode(under_one)] for under_one in rewritten]
    for i, (record, prompt, completions) in enumerate(own):
        if _same_as_tokens(record, completions):
            dropped.add("two ranked responses are identical as tokens")
            yield None
            continue
        views = [Tree(ids, completions) for ids in (prompt, *(ids[i] for ids in others))]
        yield views if all(_tree_fits(view, limits, codec.end_ids, dropped) for view in views) else None


def _frozen_tree(tree: Tree) -> tuple[bytes, ...]:
    """The ids as bytes, the prompt's first: an eighth of what they take as a list."""
    return tuple(array("i", ids).tobytes() for ids in (tree.prompt, *tree.completions))


def _thawed_tree(frozen: tuple[bytes, ...]) -> Tree:
    prompt, *completions = (array("i", ids).tolist() for ids in frozen)
    return Tree(prompt, completions)


def _frozen_views(views: Sequence[Tree]) -> list[tuple[bytes, ...]]:
    return [_frozen_tree(tree) for tree in views]


def _thawed_views(frozen: Sequence[tuple[bytes, ...]]) -> list[Tree]:
    return [_thawed_tree(tree) for tree in frozen]


def _frozen_prompt(prompt: Prompt) -> tuple[Any, bytes]:
    return tuple(getattr(prompt.record, name) for name in _FIELDS), array("i", prompt.tokens).tobytes()


def _thawed_prompt(frozen: tuple[Any, bytes]) -> Prompt:
    return Prompt(PromptRecord(*frozen[0]), array("i", frozen[1]).tolist())


def _same_as_tokens(record: Preference, completions: Sequence[list[int]]) -> bool:
    """Whether texts that differ (a policy may well sample the same twice) are the same to the model."""
    return len({tuple(ids) for ids in completions}) < len(set(record.ranked))


def in_template(template: str, record: Preference) -> Preference:
    """The record with its prompt, or the user's last turn in its chat, set into a template."""
    meta = dict(record.meta)
    if "messages" in meta:
        messages = list(meta["messages"])
        asked = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages) - 1)
        content = template.replace("{prompt}", messages[asked]["content"] or "")
        messages[asked] = messages[asked] | {"content": content}
        meta["messages"] = messages
    return replace(record, prompt=template.replace("{prompt}", record.prompt), meta=meta, cuttable=None)


def common_size(records: Sequence[Preference]) -> int:
    """How many completions most records rank; of equally many the larger number; 2 without records."""
    counts = Counter(len(record.ranked) for record in records)
    return max(counts, key=lambda size: (counts[size], size), default=2)


def of_size(records: Sequence[Preference], size: int, dropped: Dropped) -> Sequence[Preference]:
    """The records that rank `size` completions: all of a run must, since a batch is a rectangle."""
    others = Counter(len(record.ranked) for record in records)
    del others[size]
    for other, count in others.items():
        dropped.add(f"ranking of {other} completions, not of {size} as most", count)
    return where(records, lambda record: len(record.ranked) == size) if others else records


def _tree_fits(tree: Tree, limits: Limits, end_ids: Collection[int], dropped: Dropped) -> bool:
    if any(token in end_ids for ids in tree.completions for token in ids[:-1]):
        dropped.add("completion that goes on after its end")  # its text spells an end token: no policy samples on
        return False
    return _fits(tree.prompt, limits.prompt, "prompt", dropped) and all(
        _fits(extreme, limits.completion, "completion", dropped)
        for extreme in (min(tree.completions, key=len), max(tree.completions, key=len))
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
        left_out = "".join(f"; left out: {n} {reason}" for reason, n in dropped.left_out.items())
        raise UserError(f"{address}: a batch needs {size} records, but there are {count} to train on{left_out}")

    def stream() -> Iterator[list[T]]:  # apart, so that the error comes at once and not with the first batch
        while True:
            order = rng.permutation(count).tolist()
            for start in range(0, count - size + 1, size):
                yield [records[i] for i in order[start : start + size]]

    return stream()
