"""The four stages by name, and `train`: from a configuration to a finished run directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from overopt import config as configuration
from overopt.errors import DivergedError, UserError
from overopt.records import Run, clear, load_run
from overopt.training.offline import Offline, train_offline
from overopt.training.online import Online, train_online
from overopt.training.progress import Progress
from overopt.training.reward_model import RewardModelStage, train_reward_model
from overopt.training.session import Session
from overopt.training.sft import SFT, train_sft

STAGES: dict[str, type] = {cls.stage: cls for cls in (SFT, RewardModelStage, Online, Offline)}

_TRAIN: dict[type, Callable[[Any, Session], None]] = {
    SFT: train_sft,
    RewardModelStage: train_reward_model,
    Online: train_online,
    Offline: train_offline,
}


def train(
    config: Any,
    out: Path | str,
    overrides: Sequence[tuple[str, str]] = (),
    progress: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] | None = None,
    base: Path | None = None,
) -> Run:
    """Run one stage into the directory `out`.

    `config` is a YAML file, a plain tree (locations in it relative to `base`, else to the working directory) or a stage
    object. A run that `out` already holds is left alone if it finished with this configuration, started again if it did
    not finish, and refused if another configuration made it.
    """
    if type(config) in _TRAIN and overrides:
        raise TypeError("overrides change a file or a tree; a stage object is complete: use dataclasses.replace")
    tell = notice or (lambda text: None)
    stage: Any = config if type(config) in _TRAIN else configuration.load(STAGES, config, overrides, base=base)
    out = Path(out).absolute()
    if (finished := _existing(stage, out, tell)) is not None:
        return finished
    session = Session(stage, out, stage.compute, progress)
    try:
        _TRAIN[type(stage)](stage, session)
    except DivergedError as error:
        assert session.writer is not None
        session.writer.finish("diverged", diverged_at=error.step)
        raise UserError(f"{out}: diverged, {error}; the last checkpoint is kept. Lower lr, or set grad_clip") from error
    except KeyboardInterrupt:
        raise  # the record says running: the same command starts the run again
    except BaseException:
        if session.writer is not None:
            with suppress(UserError):  # a full disk takes no status either
                session.writer.finish("failed")
        raise
    assert session.writer is not None
    session.writer.finish("finished")
    return load_run(out)


def _existing(stage: Any, out: Path, tell: Callable[[str], None]) -> Run | None:
    """The finished run of this configuration, if `out` holds it; an unfinished one is cleared away."""
    if out.exists() and not out.is_dir():  # before hours of sampling, not after
        raise UserError(f"{out}: is a file, but a run needs a directory; choose another --out")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, but a run needs a directory; choose another --out")
    if not (out / "run.json").is_file():
        return None
    run = load_run(out)
    mine = configuration.dump(stage, out)
    changes = configuration.difference(run.config, mine)
    if changes:
        shown = "; ".join(f"{address}: {was!r} there, {now!r} here" for address, was, now in changes[:3])
        raise UserError(f"{out}: holds a run of another configuration ({shown}); choose another --out")
    if run.status == "finished":
        tell(f"{out}: finished already, left alone")
        return run
    tell(f"{out}: {run.status} at the last attempt, started again")
    clear(out)
    return None
