"""Ends runs early by conditions on their records, while they are made; finished runs can be replayed."""

from __future__ import annotations

from overopt.stopping.conditions import StopCondition
from overopt.stopping.decide import Stop, decide, replay
from overopt.stopping.history import HistoryReader, RecordedHistory

__all__ = ["HistoryReader", "RecordedHistory", "Stop", "StopCondition", "decide", "replay"]
