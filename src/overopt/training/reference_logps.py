"""The reference's log-probabilities of a fixed data set: computed once before the first step, kept with the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

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


def ask_reference(
    reference: Policy, items: Sequence[Item], temperature: float, file: Path, token_budget: int
) -> list[Item]:
    """The items with the reference's log-probabilities: read from `file`, or made in one pass and written there.

    The pass is over the items in their order, so that a run which goes on, with or without its file, finds equal bits.
    """
    trees = [tree for item in items for tree in item.views]
    lengths = [len(completion) for tree in trees for completion in tree.completions]
    logp_N = _kept(file)
    if len(logp_N) != sum(lengths):
        logps = logps_of_trees(reference, trees, temperature, token_budget)
        logp_N = logps.logp_BT[logps.mask_BT.bool()].cpu()
        ranks.on_main(partial(replace_file, file, save({"logp": logp_N})))
    rows = iter(logp_N.to(reference.device).split(lengths))
    return [replace(item, ref_logps=[[next(rows) for _ in tree.completions] for tree in item.views]) for item in items]


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
