"""`train`: turns a configuration into a finished run directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from overopt import config as configuration
from overopt.addresses import differences
from overopt.config.messages import did_you_mean
from overopt.engine import ranks
from overopt.errors import ConfigError, UserError, say
from overopt.records import Run, RunLock, load_run, remove_states
from overopt.records.layout import LOCK, STATES
from overopt.training.run.progress import Progress
from overopt.training.run.session import Session, last_checkpoint
from overopt.training.run.sources import check_sources, may_lie_elsewhere
from overopt.training.run.stopping import Interrupts
from overopt.training.stages import STAGES
from overopt.training.stages.offline import Offline, train_offline
from overopt.training.stages.online import Online, train_online
from overopt.training.stages.reward_model import RewardModelStage, train_reward_model
from overopt.training.stages.sft import SFT, train_sft

_TRAIN: dict[type, Callable[[Any, Session], None]] = {
    SFT: train_sft,
    RewardModelStage: train_reward_model,
    Online: train_online,
    Offline: train_offline,
}


def train(
    config: Any,
    out: Path | str | None = None,
    overrides: Sequence[tuple[str, str]] = (),
    progress: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] | None = None,
    base: Path | None = None,
) -> Run:
    """Run one stage into the directory `out`, by default `runs/` and the name of the file or of the stage.

    `config` is a YAML file, a plain tree (locations in it relative to `base`, else to the working directory) or a stage
    object. A run that `out` already holds is left alone if it finished with this configuration, continued from where it
    was cut short if it did not finish, and refused if it diverged, if another configuration or another parent made it,
    or while another process is at work in it. Ctrl-C and SIGTERM stop it after the step at hand, keeping that step.

    Started by torchrun, its processes train the run together; the first one writes and speaks.
    """
    if type(config) in _TRAIN and overrides:
        raise TypeError("overrides change a file or a tree; a stage object is complete: use dataclasses.replace")
    tell = notice or say
    whole: Any = config if type(config) in _TRAIN else configuration.load(STAGES, config, overrides, base=base)
    stage = replace(whole, sinks=[])  # they are no part of what the run is: its records are the same without them
    check_provenance(stage)
    check_conditions(stage)
    name = Path(config).stem if isinstance(config, str | Path) else stage.stage
    out = Path(out or Path("runs", name)).absolute()
    with ranks.joined():
        if ranks.is_main():
            return _train(stage, out, progress, tell, whole.sinks)
        return _train(stage, out, None, lambda text: None, [])


def _train(
    stage: Any,
    out: Path,
    progress: Callable[[Progress], None] | None,
    tell: Callable[[str], None],
    sinks: Sequence[Any],
) -> Run:
    existing = ranks.on_main(partial(_existing, stage, out))
    if existing is not None and existing.complete:
        return ranks.on_main(partial(_left_alone, existing, tell))
    with Interrupts() as interrupts:
        session = Session(stage, out, progress, tell, interrupts=interrupts, sinks=sinks)
        with session.lock:
            if existing is not None:
                ranks.on_main(session.lock.acquire)
                existing = ranks.on_main(partial(_existing, stage, out))  # whoever had the lock may have finished it
                if existing is not None and existing.complete:
                    return ranks.on_main(partial(_left_alone, existing, tell))
            session.unfinished = existing is not None
            _TRAIN[type(stage)](session.pin(), session)
        interrupts.leave()  # asked for during the last step
    return load_run(out)


def check_provenance(stage: Any) -> None:
    """Raise ConfigError if a tag of `provenance` names a field that does not exist."""
    known = configuration.addresses(stage)
    problems = [
        f"provenance.{address}: no such field ({did_you_mean(address, known)})"
        for address in stage.provenance
        if not any(field == address or field.startswith(f"{address}.") for field in known)
    ]
    if problems:
        raise ConfigError(problems)


def check_conditions(stage: Any) -> None:
    """Raise ConfigError if a condition of `stop_when` is about something that this stage does not record."""
    problems = [
        f"stop_when.{place}: {configuration.name_of(type(condition))} looks at what only runs of stage "
        f"{' or '.join(condition.stages)} record"
        for place, condition in enumerate(stage.stop_when)
        if stage.stage not in condition.stages
    ]
    if problems:
        raise ConfigError(problems)


def _existing(stage: Any, out: Path) -> Run | None:
    """The run of this configuration, finished or cut short, if `out` holds one."""
    if out.exists() and not out.is_dir():  # before hours of sampling, not after
        raise UserError(f"{out}: is a file, but a run needs a directory; choose another --out")
    if not (out / "run.json").is_file():
        return None
    run = load_run(out)
    changes, moved = _changes(stage, run)
    if changes:
        shown = "; ".join(f"{address}: {was!r} there, {now!r} here" for address, (was, now) in changes[:3])
        raise UserError(f"{out}: holds a run of another configuration ({shown}); choose another --out")
    if run.status == "diverged":
        step, kept = run.info.get("diverged_at"), last_checkpoint(run)
        raise UserError(f"{out}: diverged at step {step} before, and would again; {kept}. Lower lr, or set grad_clip")
    if run.complete:
        check_sources(run, stage, moved)
    return run


def _changes(stage: Any, run: Run) -> tuple[list[tuple[str, list[Any]]], list[str]]:
    """The addresses at which the run's configuration differs, with both values; and locations that only read otherwise.

    Of these the run knows the content by hash, which decides once it has been found: the run was copied to another
    place perhaps, or its parents were. Fields that a block calls `free` change no number.
    """
    changes = differences([_saved(run), configuration.dump(stage, run.path)])
    blocks = {field.name: getattr(stage, field.name) for field in fields(stage)}
    free = {f"{name}.{of}" for name, block in blocks.items() for of in getattr(block, "free", ())}
    changes = {address: values for address, values in changes.items() if address not in free}
    locations = configuration.locations(stage)
    moved = [address for address in changes if address in locations and may_lie_elsewhere(run, address)]
    return [(address, values) for address, values in changes.items() if address not in moved], moved


def _saved(run: Run) -> dict[str, Any]:
    """The run's configuration; fields that are new since it was made have their defaults."""
    try:
        return configuration.dump(configuration.load(STAGES, run.path / "config.yaml"), run.path)
    except UserError:  # made with an objective that is gone: as it is written, to name what differs
        return run.config


def _left_alone(run: Run, tell: Callable[[str], None]) -> Run:
    tell(f"{run.path}: {run.status} already, left alone")
    if (run.path / STATES).exists() or (run.path / LOCK).exists():  # of a process that was killed just after the end
        # the folder may not be writable by now, or somebody may be evaluating the run
        with suppress(OSError, UserError), RunLock(run.path) as lock:
            lock.acquire()
            remove_states(run.path)
    return run
