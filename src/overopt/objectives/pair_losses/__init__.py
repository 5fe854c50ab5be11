"""Losses of preference pairs; the union is the registry.

`contracts.PreferenceLossProtocol` says what a loss must have, `other_libraries.yaml` what other libraries call it. In
formulas, w and l are the chosen and the rejected completion, l_w and lref_w log-probabilities under the policy and the
reference.
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
