"""Estimates the time that jobs still need: a simulated schedule of the remaining work, at the pace seen so far."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from overopt.scheduler.jobs import Event, Failed, Finished, Job, Progressed, Skipped, Started

PRIOR_SECONDS = 5.0
"""Weight, in seconds, of the prior belief that a unit of cost takes one second."""


class TimeLeft:
    """Follows the events of `run_jobs`. Times are in seconds from any fixed origin."""

    def __init__(self, jobs: Sequence[Job], workers: int, prior_seconds: float = PRIOR_SECONDS) -> None:
        self.jobs = {job.name: job for job in jobs}
        self.workers = max(1, workers)
        self.prior_seconds = prior_seconds
        self.share_done = dict.fromkeys(self.jobs, 0.0)
        self._started: dict[str, float] = {}
        self._moved: set[str] = set()
        self._spent = self._earned = 0.0

    def note(self, event: Event, now: float) -> None:
        match event:
            case Started(name):
                self._started[name] = now
            case Progressed(name, step, steps):
                self._moved.add(name)
                self.share_done[name] = min(1.0, step / steps) if steps else 0.0
            case Finished(name) | Failed(name):
                started = self._started.pop(name, now)
                if name in self._moved:  # a run that was left alone carries no information about the pace
                    self._spent += now - started
                    self._earned += self.jobs[name].cost * (self.share_done[name] if isinstance(event, Failed) else 1)
                self.share_done[name] = 1.0
            case Skipped(name):
                self.share_done[name] = 1.0

    @property
    def share(self) -> float:
        """The share of the work that is done, 0 to 1."""
        total = sum(job.cost for job in self.jobs.values())
        return sum(job.cost * self.share_done[name] for name, job in self.jobs.items()) / total if total else 1.0

    def seconds(self, now: float) -> float | None:
        """Seconds left with workers as busy as the parents allow; None while there is nothing to estimate them from."""
        spent = self.prior_seconds + self._spent + sum(now - since for since in self._started.values())
        earned = self.prior_seconds + self._earned
        earned += sum(self.jobs[name].cost * self.share_done[name] for name in self._started)
        return self._cost_left() * spent / earned if earned else None

    def _cost_left(self) -> float:
        """The length of the remaining schedule, in units of cost."""
        left = {name: job.cost * (1 - self.share_done[name]) for name, job in self.jobs.items()}
        waiting = [name for name, cost in left.items() if cost > 0 and name not in self._started]
        running = [(left[name], name) for name in self._started]
        heapq.heapify(running)
        done = {name for name, cost in left.items() if cost <= 0}
        clock = 0.0
        while running or waiting:
            for name in [name for name in waiting if set(self.jobs[name].parents) <= done]:
                if len(running) < self.workers:
                    waiting.remove(name)
                    heapq.heappush(running, (clock + left[name], name))
            if not running:
                break
            clock, name = heapq.heappop(running)
            done.add(name)
        return clock


def duration_text(seconds: float) -> str:
    """`50 s`, `3 min 20 s`, `2 h 05 min`: no more digits than an estimate deserves."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
