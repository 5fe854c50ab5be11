"""What a class of each kind of objective must have, and the defaults of what it may leave out.

The built-in classes inherit their contract. A class of your own need not: when the configuration is loaded it is
checked against the contract, and gets the defaults from it. Abstract methods, and attributes without a value, are
required; all other members are defaults. A class whose `__call__` takes one argument may have state: with a method
`init()`, `__call__(x, state)` returns `(value, state)` (`objectives/state.py`). Shapes are those of `overopt.types`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor

from overopt.objectives.state import Stateful
from overopt.types import PolicyUpdate, PreferenceScores, Rewards, Rollouts


class Objective(Protocol):
    """What all kinds share."""

    formula: ClassVar[str] = ""
    """The equation, for the documentation."""
    source: ClassVar[str] = ""
    """Where equation and defaults come from."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What the training loop must compute for it beyond what it computes anyway."""


class PreferenceLossProtocol(Objective, Protocol):
    """A loss of P preferences: pairs, or rankings of K completions."""

    needs: ClassVar[frozenset[Literal["reference", "mismatched", "logits"]]] = frozenset()
    """`reference`: its log-probabilities; `mismatched`: each prompt with another's best completion; `logits`."""
    takes: ClassVar[Literal["pairs", "rankings"]] = "pairs"
    """A loss of rankings takes pairs, too: a pair is a ranking of two."""
    separable: ClassVar[bool] = True
    """Whether the loss of a preference depends on that preference alone. One that is not separable is computed on the
    whole batch, and its gradient replayed; a loss with state, or with further `prompts`, is of that kind."""
    prompts: Sequence[str] = ()
    """Further prompts, in which `{prompt}` stands for the preference's own. The loss then sees the same completions
    under each of them, too, as `scores.views`."""

    @abstractmethod
    def __call__(self, scores: PreferenceScores) -> Tensor:
        """Return one loss per preference, `[P]`, differentiable in the policy's log-probabilities."""

    @abstractmethod
    def reward(self, scores: PreferenceScores) -> tuple[Tensor, Tensor]:
        """Return the implicit rewards `[P]` of the best and of the worst completion; accuracy and margin are theirs."""

    @staticmethod
    def contradictions(cls: Any) -> Iterator[str]:
        """Yield what does not go together in a class."""
        if cls.separable and issubclass(cls, Stateful):
            yield "has state (init), so it must say separable = False"
        if cls.separable and ("prompts" in cls.__pydantic_fields__ or cls.prompts):
            yield "has prompts of its own, so it must say separable = False"
        if not cls.separable and "logits" in cls.needs:
            yield "needs logits, so it must be separable: the logits of a whole batch do not fit in memory"


class RewardLossProtocol(Objective, Protocol):
    """A loss of the reward model."""

    takes: ClassVar[Literal["pairs", "rankings"]] = "pairs"
    """A loss of rankings takes pairs, too."""

    @abstractmethod
    def __call__(self, score_PK: Tensor) -> Tensor:
        """Return one loss per prompt, `[P]`, from scores of ranked completions, the best first."""


class AdvantageProtocol(Objective, Protocol):
    """From rewards of groups of completions to their advantages."""

    needs: ClassVar[frozenset[Literal["greedy"]]] = frozenset()
    """`greedy`: the reward of each prompt's greedy completion."""
    minimum_samples: ClassVar[int] = 1
    """The least G for which it is defined."""
    minimum_batch: ClassVar[int] = 1
    """The least B = P*G for which it is defined."""

    @abstractmethod
    def __call__(self, rewards: Rewards) -> Tensor:
        """Return advantages `[P, G]`, in units of the reward unless they are normalized."""


class PolicyLossProtocol(Objective, Protocol):
    """A loss of the policy update, from new and old log-probabilities and advantages."""

    needs: ClassVar[frozenset[Literal["reference", "logits", "old_logits", "ref_logits"]]] = frozenset()
    """`reference`: its log-probabilities; `logits` of the policy, which `old_logits` and `ref_logits` come with."""

    @abstractmethod
    def __call__(self, update: PolicyUpdate) -> Tensor:
        """Return one loss per row, `[B]`; their mean is the loss."""

    def clipped(self, update: PolicyUpdate) -> Tensor | None:
        """Return which rows the clip removes from the gradient: bool `[B]`, or each row's share; None: no clip."""
        return None


class RewardRegularizerProtocol(Objective, Protocol):
    """A regularizer in the reward: detached, added to the score of a completion."""

    needs: ClassVar[frozenset[Literal["reference"]]] = frozenset()
    coef: Any
    """A field: a number, or a controller."""

    @abstractmethod
    def __call__(self, rollouts: Rollouts, coef: float) -> Tensor:
        """Return bonuses `[B]` in units of the reward, for the coefficient in force."""


class LossRegularizerProtocol(Objective, Protocol):
    """A regularizer in the loss: differentiable, added to the loss of a row."""

    needs: ClassVar[frozenset[Literal["reference", "logits", "old_logits", "ref_logits"]]] = frozenset()
    """The same words as a policy loss has."""
    coef: Any
    """A field: a number, or a controller."""

    @abstractmethod
    def __call__(self, update: PolicyUpdate, coef: float) -> Tensor:
        """Return rows `[B]` that are added to the loss and minimized, for the coefficient in force."""


class ControllerProtocol(Objective, Protocol):
    """Chooses a regularizer's coefficient at each update."""

    needs: ClassVar[frozenset[Literal["reference"]]] = frozenset()

    @property
    def lowest(self) -> float:
        """The lowest coefficient it can choose: one below 0 is refused where a divergence is penalized."""
        return 0.0

    @abstractmethod
    def __call__(self, rollouts: Rollouts) -> float:
        """Return the coefficient in force for these rollouts, before the update on them is made."""


class MissingEOSProtocol(Objective, Protocol):
    """A rule for the score of a completion that was cut off at the length limit."""

    @abstractmethod
    def __call__(self, score_B: Tensor, ended_B: Tensor) -> Tensor:
        """Return scores `[B]`; `ended_B` says which completions ended with EOS."""
