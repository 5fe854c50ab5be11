"""Sends a run's records to a sink: of a finished run at once, of a running one as they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from overopt.integrations.sinks import Sink, Stream
from overopt.records import layout, load_run
from overopt.records.tail import Tail

POLL_SECONDS = 1.0

Values = dict[str, float]


def replay(path: Path, sink: Sink) -> int:
    """Send all records of a run; return the number of steps sent."""
    return follow(path, sink, lambda seconds: True)


def follow(path: Path, sink: Sink, ended: Callable[[float], bool]) -> int:
    """Send records as they are written until `ended(seconds)`, which waits up to that long, returns True."""
    stream: Stream = sink.open(load_run(path))
    feed, sent, over = Feed(path), 0, False
    while True:
        for step, values in feed.rows():
            stream.send(step, values)
            sent += 1
        if over:
            stream.close(load_run(path).status)
            return sent
        over = ended(POLL_SECONDS)


class Feed:
    """Reads the numbers of a run as they are recorded, each once, by step."""

    def __init__(self, path: Path) -> None:
        # evaluations are written before the next update, so reading them after the updates misses none
        self._files = [
            ("train", Tail(path / layout.METRICS)),
            ("time", Tail(path / layout.TIMINGS)),
            ("evaluation", Tail(path / layout.EVALUATIONS)),
        ]

    def rows(self) -> Iterator[tuple[int, Values]]:
        """Yield (step, values) recorded since the last call; names begin with the file they come from."""
        steps: dict[int, Values] = {}
        for kind, tail in self._files:
            for row in tail.rows():
                steps.setdefault(int(row["step"]), {}).update(_named(kind, row))
        yield from sorted(steps.items())


def _named(kind: str, row: Mapping[str, Any]) -> Values:
    """Name values as `train/loss`, `evaluation/win_rate` or, for held-out pairs, `pairs/accuracy`."""
    prefix = "pairs" if row.get("judge") == "pairs" else kind
    return {
        f"{prefix}/{name}": float(value)
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }
