"""Training functions for tests of the scheduler, imported by worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overopt.errors import UserError


@dataclass(frozen=True)
class Progress:
    stage: str
    step: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)


def train(config: dict[str, Any], out: Path, progress: Callable[..., None], notice: Callable[[str], None]) -> None:
    """Write when the job began and ended, and do what the config's `do` says."""
    began = time.monotonic()
    if out.exists():
        notice("left alone")
        return
    if "threads" in config:
        from overopt.engine.compute import Compute  # torch, which no other job needs

        Compute(threads=config["threads"]).resolve()
    match config.get("do"):
        case "refuse":
            raise UserError("lr: expected a number")
        case "crash":
            raise ZeroDivisionError("division by zero")
        case "die once" if not out.with_suffix(".died").exists():
            out.with_suffix(".died").write_text("")
            os._exit(9)
        case "die":
            os._exit(9)
        case "hang":
            half = out.with_suffix(".half")
            half.write_text(str(os.getpid()))
            half.rename(out.with_suffix(".pid"))  # whole as soon as it is seen
            time.sleep(60)
    time.sleep(config.get("seconds", 0.0))
    progress(Progress("sft", 1, 1, {"loss": 0.5}))
    out.write_text(f"{os.getpid()} {began} {time.monotonic()} {os.environ['OMP_NUM_THREADS']}")
