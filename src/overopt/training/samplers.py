"""Who samples the rollouts: the engine, on the weights that are trained, or another program, which is given them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Protocol

from torch import Tensor

from overopt.config import Choice, block
from overopt.engine.sampler import DrawKey, Samples
from overopt.models.policy import Policy
from overopt.vllm.sampler import VLLM

Compared = tuple[Tensor | None, dict[str, float]]
"""Weights of the rows' losses `[B]`, if a correction is asked for, and metrics."""


class SamplesElsewhere(Protocol):
    """Draws completions from the policy's present weights by another program."""

    @property
    def about(self) -> Mapping[str, str]:
        """Which program it is, for `run.json`."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        prompt_ids: Sequence[str],
        group_size: int,
        temperature: float,
        max_tokens: int,
        key: DrawKey,
    ) -> Samples:
        """Draw completions, as `engine.sampler.sample`, without entropies; log-probabilities are that program's."""

    def compare(self, samples: Samples, logp_BT: Tensor, logp_at: Callable[[float], Tensor], step: int) -> Compared:
        """Hold its log-probabilities against the trainer's `logp_BT`; `logp_at`: those at another temperature."""


@block
class Own:
    """The engine samples, from the very weights that are trained."""

    def start(self, policy: Policy, longest: int, notice: Callable[[str], None]) -> None:
        """Nothing to start."""


Sampler = Annotated[Own | VLLM, Choice()]
