"""Cuts long prompts as the published recipe cuts the posts of TL;DR: at their last line end, again and again.

Only a prompt whose record says which part may be cut (`cuttable`) is cut: that part loses its last line until the whole
prompt fits, or its last character where it has no line end. The rest of the prompt stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from overopt.models.text import Codec
from overopt.types import CUT, Completion, Dropped, PreferenceRecord, PromptRecord, RankingRecord

R = TypeVar("R", PromptRecord, PreferenceRecord | RankingRecord)

SLACK = 4
"""A text of n bytes adds at most n and so many tokens to a text before it: its last word may be cut into others. With
the tokenizer of Pythia 1 is the most that texts of words, digits, links and other scripts were seen to need."""


def encode_cut(
    codec: Codec, records: Sequence[R], completions: Sequence[Sequence[Completion]], limit: int, dropped: Dropped
) -> Iterator[tuple[R, list[int], list[list[int]]]]:
    """For each record: itself, its prompt cut to `limit` tokens if it can be, and the ids of prompt and completions."""
    encoded = [*codec.encode(records, completions)]  # all, since asking for a cut prompt ends the tokenizer's batch
    for i, (record, (prompt, completed)) in enumerate(zip(records, encoded, strict=True)):
        if len(prompt) <= limit or record.cuttable is None:
            yield record, prompt, completed
            continue
        shorter = cut(codec, record, len(prompt), limit)
        ids, completed = next(codec.encode([shorter], completions[i : i + 1]))
        if len(ids) <= limit:
            dropped.add(CUT)
        yield shorter, ids, completed


def cut(codec: Codec, record: R, tokens: int, limit: int) -> R:
    """The record, whose prompt has more than `limit` tokens, with the prompt cut until it fits, or nothing is left."""
    assert record.cuttable is not None
    start, end = record.cuttable
    while tokens > limit and end > start:
        shorter = _shorter(record.prompt, start, end, tokens - limit - SLACK)
        record = replace(record, prompt=record.prompt[:shorter] + record.prompt[end:], cuttable=(start, shorter))
        end = shorter
        tokens = len(codec.prompt(record))
    return record


def _shorter(prompt: str, start: int, end: int, excess: int) -> int:
    """Where the part that ends at `end` ends after the first cuts by the rule that take `excess` bytes or more.

    Fewer bytes cannot take `excess` tokens away, so that the lengths in between need no tokenizer.
    """
    excess = max(1, excess)
    taken = prompt[max(start, end - excess) : end].encode()[-excess:].decode(errors="ignore")
    furthest = end - max(1, len(taken))
    line_end = prompt.rfind("\n", start, furthest + 1)
    return furthest if line_end < 0 else line_end


def is_cut_of(prompt: str, record: PromptRecord) -> bool:
    """Whether a prompt is the record's, whole or cut."""
    if record.cuttable is None:
        return prompt == record.prompt
    before, after = record.prompt[: record.cuttable[0]], record.prompt[record.cuttable[1] :]
    whole = record.prompt[record.cuttable[0] : record.cuttable[1]]
    fits = len(before) + len(after) <= len(prompt) and prompt.startswith(before) and prompt.endswith(after)
    return fits and whole.startswith(prompt[len(before) : len(prompt) - len(after)])
