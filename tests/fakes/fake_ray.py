"""The part of Ray that the executor uses, in this process: a task is a thread, an actor a plain object.

What a task is to do is said in the job's configuration, as for `fake_stages`; `die: KIND` raises that error of Ray's
instead of running it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

KINDS = ("OutOfMemoryError", "WorkerCrashedError", "NodeDiedError", "ObjectLostError", "LocalRayletDiedError")


class RayTaskError(Exception):
    def __init__(self, text: str, cause: Exception) -> None:
        super().__init__(text)
        self.cause = cause


class FakeRay(ModuleType):
    """`nodes_there` are the resources of the machines; `options` and `cancelled` remember what was asked."""

    def __init__(self, *nodes_there: dict[str, float]) -> None:
        super().__init__("ray")
        kinds = {name: type(name, (Exception,), {}) for name in KINDS}
        self.exceptions = ModuleType("ray.exceptions")
        vars(self.exceptions).update(kinds, RayTaskError=RayTaskError)
        self.scheduling = ModuleType("ray.util.scheduling_strategies")
        vars(self.scheduling).update(NodeAffinitySchedulingStrategy=lambda node_id, soft: (node_id, soft))
        self.util = SimpleNamespace(scheduling_strategies=self.scheduling)
        self.nodes_there = nodes_there
        self.options: list[dict[str, Any]] = []
        self.cancelled: list[Future[Any]] = []
        self.given: dict[str, Any] = {}
        self.up = False
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        modules = {"ray": self, "ray.exceptions": self.exceptions, "ray.util.scheduling_strategies": self.scheduling}
        for name, module in {**modules, "ray.util": ModuleType("ray.util")}.items():
            patch.setitem(sys.modules, name, module)

    def init(self, **given: Any) -> None:
        if given["address"] == "none":
            raise ConnectionError("Could not find any running Ray instance.\nmore")
        self.given, self.up = given, True

    def shutdown(self) -> None:
        self.up = False

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "here")

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": node} for node in self.nodes_there] + [{"Alive": False, "Resources": {}}]

    def remote(self, what: Any) -> Any:
        return _Remote(self, what)

    def get(self, ref: Any) -> Any:
        return [one.result() for one in ref] if isinstance(ref, list) else ref.result()

    def wait(self, refs: list[Any], num_returns: int = 1, timeout: float | None = None) -> tuple[list[Any], list[Any]]:
        if num_returns > 1:
            wait_for_futures(refs, timeout)
        end = time.monotonic() + (timeout or 0.0)
        while not any(ref.done() for ref in refs) and time.monotonic() < end:
            time.sleep(0.002)
        ready = [ref for ref in refs if ref.done()][:num_returns]
        return ready, [ref for ref in refs if ref not in ready]

    def cancel(self, ref: Any) -> None:
        self.cancelled.append(ref)
        ref.set_exception(KeyboardInterrupt())


class _Remote:
    def __init__(self, ray: FakeRay, what: Any) -> None:
        self.ray, self.what = ray, what

    def options(self, **options: Any) -> _Remote:
        self.ray.options.append(options)
        return self

    def remote(self, *given: Any) -> Any:
        if isinstance(self.what, type):
            return _Actor(self.ray, self.what())
        future: Future[Any] = Future()
        threading.Thread(target=self._run, args=(future, self.what, given), daemon=True).start()
        return future

    def _run(self, future: Future[Any], task: Callable[..., Any], given: Any) -> None:
        ticket = given[0]
        error: Exception | None = None
        try:
            if kind := ticket.job.config.get("die"):
                times = ticket.job.config.get("times", 99)
                if times > ticket.job.out.with_suffix(".died").exists():
                    ticket.job.out.with_suffix(".died").touch()
                    cause = ModuleNotFoundError("No module named 'overopt'")
                    kinds = vars(self.ray.exceptions)
                    raise RayTaskError("a traceback", cause) if kind == "RayTaskError" else kinds[kind]("one\ntwo")
            task(*given)
        except Exception as raised:
            error = raised
        if not future.done():
            future.set_result(None) if error is None else future.set_exception(error)


class _Actor:
    def __init__(self, ray: FakeRay, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._actor, name)
        return SimpleNamespace(remote=lambda *given: asyncio.run_coroutine_threadsafe(method(*given), self._ray.loop))
