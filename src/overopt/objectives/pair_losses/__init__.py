"""Losses of preference pairs; the union is the registry.

A loss is called with `PreferenceScores` and returns one loss per pair. `reward` gives the implicit rewards whose
difference it fits. `needs` names what the loop must supply beyond the policy's own log-probabilities: `reference`,
`mismatched` completions, `logits`. `separable` says whether the loss of a pair depends on that pair alone; one that
does not, or that remembers (see `objectives/state.py`), is computed on the whole batch and its gradient replayed. A
loss that asks for the same pairs under other prompts has a field `prompts`, and is not separable either.

`formula` and `source` say which equation it is. `elsewhere` translates it: for TRL as `trainer`, perhaps `when` (the
condition under which TRL has it), and arguments of the trainer's config, condition and arguments being expressions in
our field names; for other libraries as text.
"""

from __future__ import annotations

from typing import Annotated

from overopt.config import Choice
from overopt.objectives.contracts import PreferenceLossProtocol
from overopt.objectives.pair_losses.amopo import AMoPO
from overopt.objectives.pair_losses.cringe import Cringe, PairwiseCringe
from overopt.objectives.pair_losses.gamma_po import GammaPO
from overopt.objectives.pair_losses.reference_free import CPO, ORPO, AlphaPO, ConfPO, SimPO, SLiCHF
from overopt.objectives.pair_losses.with_reference import DPO, IPO, KTO, RPO, ChiPO, Hinge

PairLosses = (
    DPO
    | IPO
    | SimPO
    | KTO
    | ChiPO
    | CPO
    | ORPO
    | SLiCHF
    | Hinge
    | AlphaPO
    | GammaPO
    | ConfPO
    | AMoPO
    | RPO
    | Cringe
    | PairwiseCringe
)
PairLoss = Annotated[PairLosses, Choice(PreferenceLossProtocol)]

__all__ = [
    "CPO",
    "DPO",
    "IPO",
    "KTO",
    "ORPO",
    "RPO",
    "AMoPO",
    "AlphaPO",
    "ChiPO",
    "ConfPO",
    "Cringe",
    "GammaPO",
    "Hinge",
    "PairLoss",
    "PairLosses",
    "PairwiseCringe",
    "SLiCHF",
    "SimPO",
]
