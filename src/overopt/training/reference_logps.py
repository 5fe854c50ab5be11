"""The reference's log-probabilities of a fixed data set: computed once before the first step, kept with the run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from overopt.engine import ranks
from overopt.engine.head import logps_of_trees
from overopt.engine.packing import Tree
from overopt.models.policy import Policy
from overopt.records.atomic import replace_file


@dataclass(frozen=True)
class Item:
    """A prompt with its ranked completions, best first; then the same under each of the loss's other prompts."""

    views: list[Tree]
    ref_logps: list[list[Tensor]] | None = None
    """log pi_ref of the tokens of each completion, by view; None: the reference was not asked."""


@dataclass(frozen=True)
class Asked(Sequence[Item]):
    """Items with the reference's log-probabilities, put together each time that one is asked for."""

    items: Sequence[Item]
    logp_N: Tensor
    """Of the tokens of all completions, one behind the other."""
    starts: Sequence[int]
    """Where those of each item begin, and where they end."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        item = self.items[index]
        lengths = [len(completion) for tree in item.views for completion in tree.completions]
        rows = iter(self.logp_N[self.starts[index] : self.starts[index] + sum(lengths)].split(lengths))
        return replace(item, ref_logps=[[next(rows) for _ in tree.completions] for tree in item.views])

    def of(self, places: Sequence[int]) -> Callable[[int], Item]:
        """A function from `places`, which are ascending and belong to the items in their order, to items."""
        return lambda place: self[bisect_left(places, place)]


@dataclass(frozen=True)
class _Trees(Sequence[Tree]):
    """The trees of items with equally many views, in order."""

    items: Sequence[Item]
    views: int

    def __len__(self) -> int:
        return len(self.items) * self.views

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.items[index // self.views].views[index % self.views]


def ask_reference(reference: Policy, items: Sequence[Item], temperature: float, file: Path, token_budget: int) -> Asked:
    """The items with the reference's log-probabilities: read from `file`, or made in one pass and written there.

    The pass is over the items in their order, so that a run which goes on, with or without its file, finds equal bits.
    """
    trees = _Trees(items, len(items[0].views) if items else 1)
    sizes = [sum(len(completion) for tree in item.views for completion in tree.completions) for item in items]
    logp_N = _kept(file)
    if len(logp_N) != sum(sizes):
        logps = logps_of_trees(reference, trees, temperature, token_budget)
        logp_N = logps.logp_BT[logps.mask_BT.bool()].cpu()
        ranks.on_main(partial(replace_file, file, save({"logp": logp_N})))
    return Asked(items, logp_N.to(reference.device), [0, *accumulate(sizes)])


def _kept(file: Path) -> Tensor:
    """The log-probabilities in the file; none if it is absent or damaged, since they can be computed again."""
    try:
        return load(file.read_bytes())["logp"]
    except Exception:
        return torch.zeros(0)


def known_logps(items: Sequence[Item]) -> Tensor | None:
    """The reference's log-probabilities of a batch, `[B, T]`: all items under their own prompts, then the next view."""
    known = [item.ref_logps for item in items if item.ref_logps is not None]
    if len(known) < len(items):
        return None
    return pad_sequence([row for view in zip(*known, strict=True) for rows in view for row in rows], batch_first=True)
