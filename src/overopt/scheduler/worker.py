"""The loop of a worker process: it imports the training code once, then runs the jobs that the scheduler sends.

One pipe connects the two. The scheduler sends jobs, and None at the end; the worker sends events, of which the last of
each job is Finished or Failed.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from overopt.errors import UserError
from overopt.scheduler.jobs import Event, Failed, Finished, Job, Noticed, Progressed

PROGRESS_EVERY = 0.2
"""Least seconds between two progress events; a step of a small model takes less."""


def work(pipe: Connection, train: str, threads: int) -> None:
    """Run jobs until None arrives. `train` is `module:function`, so that the scheduler itself need not import torch."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # read when torch is first imported, hence before it
        os.environ[variable] = str(threads)
    with suppress(Exception):  # imported early, before there is a job; an error is reported by the first job
        _resolve(train)
    send = _sender(pipe)
    while (job := _next_job(pipe)) is not None:
        send(run_job(job, train, send))


def run_job(
    job: Job, train: str, send: Callable[[Event], None], progress_every: float = PROGRESS_EVERY
) -> Finished | Failed:
    """Run one job and return how it ended.

    `train` gets the configuration, the run directory, and callbacks for progress and notices.
    """
    started, last_sent = time.monotonic(), 0.0

    def progress(now: Any) -> None:
        nonlocal last_sent
        if time.monotonic() - last_sent >= progress_every or now.step >= now.steps:
            last_sent = time.monotonic()
            send(Progressed(job.name, now.step, now.steps, dict(now.metrics)))

    try:
        run_stage = _resolve(train)
        with _threads_restored():
            run_stage(dict(job.config), job.out, progress=progress, notice=lambda text: send(Noticed(job.name, text)))
    except UserError as error:
        return Failed(job.name, str(error))
    except Exception as error:
        return Failed(job.name, f"{type(error).__name__}: {error}", traceback.format_exc())
    return Finished(job.name, time.monotonic() - started)


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Gives torch its thread count back: a job with `compute.threads` sets it for the whole process."""
    torch: Any = sys.modules.get("torch")  # the training code has imported it; the scheduler itself does without
    before = torch.get_num_threads() if torch is not None else None
    try:
        yield
    finally:
        if before is not None and torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _resolve(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _sender(pipe: Connection) -> Callable[[Event], None]:
    def send(event: Event) -> None:
        try:
            pipe.send(event)
        except OSError:  # the scheduler is gone: nobody waits for this work any more
            os._exit(1)

    return send


def _next_job(pipe: Connection) -> Job | None:
    try:
        job: Job | None = pipe.recv()
    except (EOFError, OSError):
        return None
    return job
