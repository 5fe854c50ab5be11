from __future__ import annotations

from dataclasses import dataclass

from overopt.objectives.state import State, call, initial_state


@dataclass(frozen=True)
class Counter:
    """Counts its calls."""

    def init(self) -> State:
        return {"calls": 0}

    def __call__(self, x: float, state: State) -> tuple[float, State]:
        return x + state["calls"], {"calls": state["calls"] + 1}


def test_what_remembers_is_handed_its_state_and_hands_back_the_next() -> None:
    counter = Counter()
    start = initial_state(counter)
    first, state = call(counter, 10.0, start)
    second, state = call(counter, 10.0, state)
    assert (first, second, state) == (10.0, 11.0, {"calls": 2})
    assert start == {"calls": 0}


def test_what_does_not_remember_is_called_alone() -> None:
    assert initial_state(abs) == {}
    assert call(abs, -3, {}) == (3, {})
