"""From a run's records to a sink: of a run that is over, or of one that is going on, as it writes them."""

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
    """Send all that is recorded; how many steps that are."""
    return follow(path, sink, lambda seconds: True)


def follow(path: Path, sink: Sink, ended: Callable[[float], bool]) -> int:
    """Send what is recorded as it comes, until `ended`, which waits so many seconds for that, says so."""
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
    """A run's numbers, each once, in order of their steps."""

    def __init__(self, path: Path) -> None:
        # an evaluation is written before the next update: read after the updates, it is never late
        self._files = [
            ("train", Tail(path / layout.METRICS)),
            ("time", Tail(path / layout.TIMINGS)),
            ("evaluation", Tail(path / layout.EVALUATIONS)),
        ]

    def rows(self) -> Iterator[tuple[int, Values]]:
        """What has been recorded since the last call: a row a step, names after where they come from."""
        steps: dict[int, Values] = {}
        for kind, tail in self._files:
            for row in tail.rows():
                steps.setdefault(int(row["step"]), {}).update(_named(kind, row))
        yield from sorted(steps.items())


def _named(kind: str, row: Mapping[str, Any]) -> Values:
    """`train/loss`, `evaluation/win_rate`, and of held-out pairs `pairs/accuracy`."""
    prefix = "pairs" if row.get("judge") == "pairs" else kind
    return {
        f"{prefix}/{name}": float(value)
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }
