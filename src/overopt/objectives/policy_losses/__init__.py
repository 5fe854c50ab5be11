"""Losses of the policy update: from new and old log-probabilities and advantages to one loss a row.

A loss is called with `PolicyUpdate` and returns rows `[B]` whose mean is the loss; the union is the registry. `clipped`
says where the clip holds: bool rows, or each row's share of tokens, or None if the loss clips nothing. `needs` may hold
`logits` and `old_logits`. How a loss of tokens becomes a row's is a named choice (`objectives/aggregation.py`).

A sampled token whose probability has become 0 (log-probability -inf) makes a ratio 0, which is finite; losses of the
log-probability itself (`reinforce`, `cispo`) become infinite, and the run stops as diverged.
"""

from __future__ import annotations

from typing import Annotated

from overopt.config import Choice
from overopt.objectives.contracts import PolicyLossProtocol
from overopt.objectives.policy_losses.cispo import CISPO
from overopt.objectives.policy_losses.gspo import GSPO
from overopt.objectives.policy_losses.lco import LCO
from overopt.objectives.policy_losses.ppo_clip import PPOClip
from overopt.objectives.policy_losses.ppo_clip_token import PPOClipToken
from overopt.objectives.policy_losses.reinforce import Reinforce

PolicyLoss = Annotated[PPOClip | PPOClipToken | Reinforce | GSPO | CISPO | LCO, Choice(PolicyLossProtocol)]

__all__ = ["CISPO", "GSPO", "LCO", "PPOClip", "PPOClipToken", "PolicyLoss", "Reinforce"]
