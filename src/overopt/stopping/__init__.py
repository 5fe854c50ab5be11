"""Ending a run in time: conditions on its records, decided while it is made or replayed when it is over."""

from __future__ import annotations

from overopt.stopping.conditions import StopCondition
from overopt.stopping.decide import Stop, decide, replay
from overopt.stopping.history import HistoryReader, RecordedHistory

__all__ = ["HistoryReader", "RecordedHistory", "Stop", "StopCondition", "decide", "replay"]
