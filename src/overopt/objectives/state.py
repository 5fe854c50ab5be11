"""State of objectives that remember: explicit, JSON-able, owned by the loop and never by the objective.

An objective with a method `init()` is called as `value, state = objective(x, state)` and returns the next state; one
without is called as `value = objective(x)`. Loops use the two functions here and need not know which it is.
"""

from __future__ import annotations

from typing import Any

State = dict[str, Any]
"""Numbers and lists only, so that it can be saved beside a checkpoint."""


def initial_state(objective: Any) -> State:
    """What the objective starts with; empty for one that remembers nothing."""
    return objective.init() if hasattr(objective, "init") else {}


def call(objective: Any, x: Any, state: State) -> tuple[Any, State]:
    """The objective's value at `x`, and its state afterwards."""
    return objective(x, state) if hasattr(objective, "init") else (objective(x), state)
