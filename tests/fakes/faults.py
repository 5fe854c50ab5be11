"""Processes that are killed at chosen instants, and what they leave, to the last bit.

A run is made in a fork of this process: it has torch already, so that a hundred deaths take minutes. The death is a
real SIGKILL: at some instant of a step, by a timer, or inside something that writes: half of it is done, then it dies.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from overopt.errors import UserError
from overopt.models.body import Body
from overopt.records import load_run
from overopt.training.run import trainer_state
from overopt.training.run.progress import Progress
from overopt.training.train import train

Config = dict[str, Any]
Seen = Callable[[Progress], None]

MODELS = {
    "gpt_neox untied": {"architecture": "gpt_neox", "extra": {"tie_word_embeddings": False}},
    "gpt_neox tied": {"architecture": "gpt_neox", "extra": {"tie_word_embeddings": True}},
    "llama untied": {"architecture": "llama", "extra": {"tie_word_embeddings": False}},
    "llama tied": {"architecture": "llama", "extra": {"tie_word_embeddings": True, "num_key_value_heads": 1}},
}
"""Two architectures, with heads of their own and tied to the embedding."""

# --- Deaths


@dataclass(frozen=True)
class Instant:
    """A share of a step's time after the step before it was recorded."""

    step: int
    share: float
    seconds: float
    """What a step takes, about."""

    def arm(self, out: Path) -> Seen:
        def seen(now: Progress) -> None:
            if now.step == self.step - 1:
                timer = threading.Timer(self.share * self.seconds, os.kill, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()

        return seen


@dataclass(frozen=True)
class Write:
    """Inside the nth thing that is written, renamed or removed in the run directory."""

    number: int

    def arm(self, out: Path) -> Seen:
        writes = 0

        def meet(what: str, half: Callable[[], None]) -> None:
            nonlocal writes
            writes += 1
            if writes == self.number:
                half()
                os.kill(os.getpid(), signal.SIGKILL)

        watch_writes(out, meet)
        return lambda now: None


Death = Instant | Write


def watch_writes(out: Path, meet: Callable[[str, Callable[[], None]], None]) -> None:
    """Before anything in `out` is written, renamed, put on the disk or removed: `meet` with what would do half of it.

    For a process that will not live long: nothing is put back.
    """
    write, fsync, rename, replace, rmtree = os.write, os.fsync, Path.rename, Path.replace, shutil.rmtree
    save_file, save = trainer_state.save_file, Body.save

    def name(file: int) -> str:
        return os.readlink(f"/proc/self/fd/{file}")

    def watched_write(file: int, content: Any) -> int:
        if name(file).startswith(str(out)):
            meet(f"write {Path(name(file)).name}", lambda: _ignore(write(file, bytes(content)[: len(content) // 2])))
        return write(file, content)

    def watched_fsync(file: int) -> None:
        if name(file).startswith(str(out)):
            meet(f"fsync {Path(name(file)).name}", lambda: None)
        fsync(file)

    def watched_rename(self: Path, target: Path) -> Path:
        if str(target).startswith(str(out)):
            meet(f"rename to {target.name}", lambda: None)
        return rename(self, target)

    def watched_replace(self: Path, target: Path) -> Path:
        meet(f"replace {target.name}", lambda: None)
        return replace(self, target)

    def watched_rmtree(folder: Any, *args: Any, **options: Any) -> None:
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        if files and str(folder).startswith(str(out)):
            meet(f"remove {Path(folder).name}", lambda: [file.unlink() for file in files[::2]] and None)
        rmtree(folder, *args, **options)

    def watched_save_file(tensors: Any, file: Path) -> None:
        def half() -> None:
            save_file(tensors, file)
            os.truncate(file, file.stat().st_size // 2)

        meet(f"write {file.name}", half)
        save_file(tensors, file)

    def watched_save(self: Body, folder: Path) -> None:
        def half() -> None:
            save(self, folder)
            os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size // 2)

        meet("write model.safetensors", half)
        save(self, folder)

    os.write, os.fsync, shutil.rmtree = watched_write, watched_fsync, watched_rmtree  # type: ignore[assignment]
    Path.rename, Path.replace = watched_rename, watched_replace  # type: ignore[method-assign, assignment]
    trainer_state.save_file, Body.save = watched_save_file, watched_save  # type: ignore[method-assign]


def _ignore(value: object) -> None:
    pass


# --- Runs in a process of their own


@dataclass(frozen=True)
class Ending:
    """How a process ended: `signal` if one killed it, else its exit status, and what it said."""

    signal: int
    status: int
    said: list[str]


def in_child(act: Callable[[Callable[[str], None]], None]) -> Ending:
    """`act` in a fork, which gets a function to say things with; a user's error is status 2, any other 1."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            act(lambda text: _ignore(os.write(writing, text.encode() + b"\0")))
            status = 0
        except UserError as error:
            os.write(writing, str(error).encode() + b"\0")
            status = 2
        except KeyboardInterrupt:
            status = 130
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        except BaseException as error:
            os.write(writing, repr(error).encode() + b"\0")
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = [text.decode() for text in pipe.read().split(b"\0") if text]
    _, code = os.waitpid(child, 0)
    return Ending(code & 0x7F, code >> 8, said)


def run_in_child(config: Config, out: Path, death: Death | None = None, seen: Seen = lambda now: None) -> Ending:
    def act(say: Callable[[str], None]) -> None:
        armed = seen if death is None else death.arm(out)
        train(config, out, progress=armed, notice=say)

    return in_child(act)


def count_writes(config: Config, out: Path) -> list[int]:
    """For each thing that a whole run writes, renames or removes, the last step that was recorded before it."""

    def act(say: Callable[[str], None]) -> None:
        watch_writes(out, lambda what, half: say(str(steps_recorded(out))))
        train(config, out)

    ending = in_child(act)
    assert (ending.signal, ending.status) == (0, 0), ending.said
    return [int(step) for step in ending.said]


# --- What is left


def steps_recorded(out: Path) -> int:
    file = out / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def left_behind(out: Path) -> dict[str, str]:
    """A hash of everything in a run directory that must not depend on interruptions.

    Of `timings.jsonl` only the steps, of `run.json` all but times and resumes.
    """
    hashes = {}
    for file in sorted(path for path in out.rglob("*") if path.is_file()):
        content = file.read_bytes()
        if file.name == "timings.jsonl":
            content = json.dumps([json.loads(line)["step"] for line in content.splitlines()]).encode()
        if file.name == "run.json":
            info = json.loads(content)
            content = json.dumps({k: v for k, v in info.items() if k not in CHANGING}, sort_keys=True).encode()
        hashes[file.relative_to(out).as_posix()] = hashlib.sha256(content).hexdigest()
    return hashes


CHANGING = {"started", "clock", "finished", "cpu_seconds", "resumes", "name", "commit", "diff_hash"}
"""The last two are of the checkout, which somebody may be editing."""


# --- Deaths by the dozen


@dataclass
class Tally:
    """Kills survived, and where they were."""

    deaths: int = 0
    after_checkpoint: int = 0
    in_write: int = 0
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.deaths} kills, {self.after_checkpoint} after the first checkpoint, {self.in_write} inside a write;"
            f" at {' '.join(self.places)}: all records and weights equal"
        )


class Stand:
    """A configuration, what an uninterrupted run of it leaves, and where one can die."""

    def __init__(self, config: Config, folder: Path, every: int) -> None:
        self.config, self.folder, self.every = config, folder, every
        folder.mkdir(exist_ok=True)
        self.reference = folder / "reference"
        ending = run_in_child(config, self.reference)
        assert (ending.signal, ending.status) == (0, 0), ending.said
        self.expected = left_behind(self.reference)
        assert not any(name.startswith("trainer/") for name in self.expected)
        self.steps = steps_recorded(self.reference)
        self.seconds = load_run(self.reference).timings()["elapsed"][-1] / self.steps
        counted = folder / "counted"
        self.writes = count_writes(config, counted)
        assert left_behind(counted) == self.expected  # and that is what the same command repeats
        shutil.rmtree(counted)

    def deaths(self, count: int, rng: random.Random) -> Iterator[Death]:
        """At least a quarter inside a write, and three quarters after the first checkpoint."""
        late = [number for number, step in enumerate(self.writes, start=1) if step > self.every]
        for i in range(count):
            early = i % 10 == 9
            if i % 10 in (0, 3, 6, 9):
                yield Write(rng.randint(1, len(self.writes)) if early else rng.choice(late))
            else:
                step = rng.randint(2, self.every) if i % 20 == 5 else rng.randint(self.every + 2, self.steps)
                yield Instant(step, rng.random(), self.seconds)

    def survive(self, count: int, rng: random.Random) -> Tally:
        """So many runs, each killed once and continued by the same command."""
        tally = Tally()
        for i, death in enumerate(self.deaths(count, rng)):
            out = self.folder / f"run-{i}"
            while not self._killed(out, death):  # the timer was late, and the run had finished
                death = Instant(rng.randint(self.every + 2, self.steps), rng.random() / 2, self.seconds)
            step = steps_recorded(out)
            self._continue(out, step)
            tally.deaths += 1
            tally.after_checkpoint += step >= self.every
            tally.in_write += isinstance(death, Write)
            tally.places.append(f"{step}{'w' if isinstance(death, Write) else ''}")
            shutil.rmtree(out)
        return tally

    def _killed(self, out: Path, death: Death) -> bool:
        ending = run_in_child(self.config, out, death)
        if ending.signal == signal.SIGKILL:
            return True
        assert ending.status == 0, ending.said
        shutil.rmtree(out)
        return False

    def _continue(self, out: Path, step: int) -> None:
        if (out / "run.json").exists():
            load_run(out).metrics()  # a run that was killed stays readable
        finished = (out / "run.json").exists() and load_run(out).complete
        ending = run_in_child(self.config, out)
        assert (ending.signal, ending.status) == (0, 0), ending.said
        resumes = load_run(out).info["resumes"]
        assert finished or not resumes or 0 <= step - resumes[-1]["step"] <= self.every
        assert left_behind(out) == self.expected


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail("it did not come to pass")
        time.sleep(0.005)
