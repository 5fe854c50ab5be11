"""Finite candidate sets: seeded random ones, and some that can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LONGEST = 12
TEMPERATURES = (0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Candidates:
    """N completions of one prompt, in float64, and the temperature (alpha or beta)."""

    reward_N: Tensor
    length_N: Tensor
    ref_logp_N: Tensor
    temperature: float

    @property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Indices of all pairs, each once: over both orders some errors (a wrong sign of gamma) would cancel."""
        first, second = torch.triu_indices(len(self.reward_N), len(self.reward_N), offset=1)
        return first, second

    def solve(self, form: Callable[[Tensor, Tensor, float], Tensor]) -> Tensor:
        """A closed form at these rewards, lengths and temperature."""
        return form(self.reward_N, self.length_N, self.temperature)

    def of_pairs(self, value_N: Tensor) -> tuple[Tensor, Tensor]:
        """A value of both candidates of all pairs; the first one counts as chosen."""
        first, second = self.pairs
        return value_N[first], value_N[second]


def random_sets(seed: int = 0, count: int = 14) -> list[Candidates]:
    """Return sets of 2 to 8 candidates: rewards ~ N(0, 1), lengths 1 to 12, not all equal, and a random reference."""
    stream = torch.Generator().manual_seed(seed)
    sets = []
    for i in range(count):
        size = 2 + i % 7
        length_N = torch.randint(1, LONGEST + 1, (size,), generator=stream)
        length_N[0] = length_N[1] % LONGEST + 1
        sets.append(
            Candidates(
                reward_N=torch.randn(size, generator=stream, dtype=torch.float64),
                length_N=length_N.double(),
                ref_logp_N=torch.randn(size, generator=stream, dtype=torch.float64).log_softmax(-1),
                temperature=TEMPERATURES[i % len(TEMPERATURES)],
            )
        )
    return sets


def worked_example() -> Candidates:
    """Two candidates of 1 and 2 tokens, beta 1, rewards 0 and log(2)/2: all optima are roots of quadratics.

    With u = exp(-c), the trained fixed point solves u + 2u^2 = 1: pi = (1/2, 1/2). Eq. 7's maximizer solves
    u + 2u^2 = e: pi = (0.347, 0.653). "Temperature beta/|y|" gives (1/3, 2/3), Eq. 3 at alpha 1 gives (0.414, 0.586).
    """
    two = torch.tensor([0.0, math.log(2) / 2], dtype=torch.float64)
    return Candidates(two, torch.tensor([1.0, 2.0], dtype=torch.float64), torch.zeros(2).double().log_softmax(-1), 1.0)


def easy_bandit() -> Candidates:
    """Four candidates of 1 to 4 tokens, each above 0.1 at the trained fixed point, so that gradient ascent is fast."""
    reward_N = torch.tensor([0.0, 0.3, 0.5, 0.6], dtype=torch.float64)
    return Candidates(reward_N, torch.arange(1.0, 5.0, dtype=torch.float64), (0 * reward_N).log_softmax(-1), 1.0)


def random_policies(center_N: Tensor, count: int, seed: int = 1) -> Tensor:
    """Return log-probabilities `[count, N]`: half uniform on the simplex, half around `center` at all distances."""
    stream = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, center_N.shape[-1], generator=stream, dtype=torch.float64)
    uniform = torch.rand(count // 2, center_N.shape[-1], generator=stream, dtype=torch.float64)
    anywhere = uniform.log().neg().log()  # normalized exponential variables are uniform on the simplex
    distance = torch.logspace(-4, 0, count - count // 2, dtype=torch.float64)[:, None]
    return torch.cat([anywhere, center_N + distance * noise[count // 2 :]]).log_softmax(-1)
