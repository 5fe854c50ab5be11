"""Several processes that do one thing together, as torchrun starts them, but forked from a process that has torch."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from overopt.engine import ranks

SECONDS = 120
"""After which processes that wait for each other are killed."""


@dataclass(frozen=True)
class Ended:
    """How one of the processes ended: what its work returned, or its error; or the signal that killed it."""

    result: Any = None
    error: BaseException | None = None
    signal: int = 0


def together(
    count: int, work: Callable[[], Any], watch: Callable[[list[int]], None] = lambda pids: None
) -> list[Ended]:
    """`work` in `count` processes that can join each other; `watch` gets their pids while they run.

    A process whose neighbor died is killed after it has failed, as torchrun does.
    """
    port = str(_free_port())
    started = [_fork(number, count, port, work) for number in range(count)]
    watch([pid for pid, _ in started])
    deadline = threading.Timer(SECONDS, lambda: [_kill(pid) for pid, _ in started])
    deadline.start()
    ended: list[Ended] = []
    for pid, reading in started:
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        _, code = os.waitpid(pid, 0)
        if code & 0x7F:
            ended.append(Ended(signal=code & 0x7F))
            for other, _ in started:
                _kill(other)
        else:
            ended.append(Ended(*pickle.loads(said)))
    deadline.cancel()
    return ended


def results(count: int, work: Callable[[], Any]) -> list[Any]:
    """What `work` returned in each process; an error of any of them is raised."""
    ended = together(count, work)
    for one in ended:
        if one.error is not None:
            raise one.error
        assert not one.signal
    return [one.result for one in ended]


def _fork(number: int, count: int, port: str, work: Callable[[], Any]) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count), "LOCAL_RANK": str(number)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        outcome: tuple[Any, BaseException | None] = (None, None)
        try:
            with ranks.joined():
                outcome = (work(), None)
        except BaseException as error:
            outcome = (None, error)
        try:
            said = pickle.dumps(outcome)
        except Exception:
            said = pickle.dumps((None, RuntimeError(repr(outcome))))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(said)
    finally:
        os._exit(0)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
