"""State of objectives, explicit: JSON-able, owned by the training loop and never by the objective.

An objective with state has a method `init()`, and is called as `value, state = objective(x, state)`. One without state
has no `init`, and is called as `value = objective(x)`. Loops use the two functions here and need not know which it is.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

State = dict[str, Any]
"""Numbers, texts and lists of these, so that it can be saved beside a checkpoint."""


@runtime_checkable
class Stateful(Protocol):
    """An objective with state."""

    def init(self) -> State:
        """Return the state before the first batch."""

    def __call__(self, x: Any, state: State, /) -> tuple[Any, State]:
        """Return the value at `x`, and the state for the next batch; the given state stays as it is."""


def initial_state(objective: Any) -> State:
    """Return the state before the first batch; empty for an objective without state."""
    return objective.init() if isinstance(objective, Stateful) else {}


def call(objective: Any, x: Any, state: State) -> tuple[Any, State]:
    """Return the objective's value at `x` and its next state."""
    return objective(x, state) if isinstance(objective, Stateful) else (objective(x), state)
