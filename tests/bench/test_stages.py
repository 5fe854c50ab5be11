"""The clock that counts each part without what it calls, and the tables."""

from __future__ import annotations

from itertools import count

import pytest
import stages
from stages import POINTS, REST, Clock


def test_a_part_does_not_hold_what_it_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(stages.time, "process_time", lambda: next(ticks))  # a second passes at every look
    clock = Clock()
    inner = clock.timed("inner", lambda: None)
    outer = clock.timed("outer", lambda: (inner(), inner()))
    outer()
    assert clock.take() == {REST: 2, "outer": 3, "inner": 2}
    assert clock.take() == {REST: 1}


def test_a_part_ends_with_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(stages.time, "process_time", lambda: next(ticks))
    clock = Clock()
    with pytest.raises(ZeroDivisionError):
        clock.timed("broken", lambda: 1 / 0)()
    assert clock.take() == {REST: 2, "broken": 1}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point[0]}.{point[1]}")
def test_what_is_timed_exists(point: tuple[str, str, str]) -> None:
    assert callable(getattr(stages.owner_of(point[0]), point[1]))
    assert point[2] in stages.PARTS


def test_tables_add_up() -> None:
    lines = [
        {"run": "sft", "stage": "sft", "steps": 500, "seconds": {"update": 6.0, REST: 1.0}},
        {
            "run": "kl",
            "stage": "online",
            "steps": 80,
            "seconds": {"sampling": 2.0, "update": 1.0, "evaluation": 1.5, "evaluation: KL": 0.5},
        },
    ]
    table = stages.demo_table(15.0, lines)
    assert table[2] == "| `sft` | sft | 500 | 7.0 | - | 6.0 | - | 1.0 |"
    assert table[4] == "| scheduler, table, figure, report | - | - | 3.0 | - | - | - | - |"
    assert table[5] == "| sum | - | - | 15.0 | 2.0 | 7.0 | 2.0 | 1.0 |"
    assert stages.run_table(8.0, {"sampling": 2.0, "update": 4.0}, 80)[2:] == [
        "| sampling | 2.00 | 25.0 | 25% |",
        "| update | 4.00 | 50.0 | 50% |",
        "| interpreter's end | 2.00 | 25.0 | 25% |",
        "| sum | 8.00 | 100.0 | 100% |",
    ]
