"""The sinks. Each imports its library when opened; the library is installed by the extra of the same name."""

from __future__ import annotations

import hashlib
import importlib
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field

from overopt.config import Choice, Folder, block, load
from overopt.errors import UserError
from overopt.records import Run, reading_run

Name = Annotated[str, Field(min_length=1)]
PROJECT = "overopt"
IDENTITY = "overopt_identity"
"""Key in a tracker's configuration that identifies the run, since run names repeat."""


class Stream(Protocol):
    """An open sink: takes values by step, then the final status."""

    def send(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self, status: str) -> None: ...


class SinkProtocol(Protocol):
    """What a sink has."""

    @abstractmethod
    def open(self, run: Run) -> Stream:
        """Connect; called in a process of the sink's own."""


@block
class TensorBoard(SinkProtocol):
    """Event files for `tensorboard --logdir`."""

    config_name: ClassVar[str] = "tensorboard"

    folder: Folder | None = None
    """Folder in which a folder of the run's name is made; null: `tensorboard/` in the run directory. Existing event
    files there are replaced."""

    def open(self, run: Run) -> Stream:
        summary = _library("tensorboard.summary", "tensorboard")
        folder = run.path / "tensorboard" if self.folder is None else Path(self.folder) / run.name
        for old in folder.glob("events.out.tfevents.*"):  # of an earlier replay; they would be drawn twice
            old.unlink()
        return _TensorBoardStream(summary.Writer(str(folder)))


class _TensorBoardStream:
    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def send(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self, status: str) -> None:
        self.writer.close()


@block
class Trackio(SinkProtocol):
    """A local Trackio project (`trackio show`), or one on a Hugging Face Space."""

    project: Name = PROJECT
    space: str | None = None
    """`user/name` of the Space; null: this machine, in TRACKIO_DIR. Locally, records sent of the same run before are
    replaced; on a Space they stay, as another run of that name."""

    def open(self, run: Run) -> Stream:
        trackio = _library("trackio", "trackio")
        if self.space is None:
            self._remove(run, trackio.Api())
        # resuming goes by name and would merge different runs of the same name
        quiet = {"resume": "never", "embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        config = run.config | {IDENTITY: identity(run)}
        return _TrackerStream(
            trackio.init(project=self.project, name=run.name, config=config, space_id=self.space, **quiet)
        )

    def _remove(self, run: Run, api: Any) -> None:
        try:
            runs = list(api.runs(self.project))
        except ValueError:  # the project does not exist yet
            return
        for old in runs:
            if (old.config or {}).get(IDENTITY) == identity(run):
                old.delete()


@block
class WandB(SinkProtocol):
    """A Weights & Biases run; offline, `wandb sync` uploads it later."""

    config_name: ClassVar[str] = "wandb"

    project: Name = PROJECT
    mode: Literal["offline", "online"] = "offline"
    folder: Folder | None = None
    """Folder of its files; null: the run directory."""

    def open(self, run: Run) -> Stream:
        wandb = _library("wandb", "wandb")
        folder = run.path if self.folder is None else Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return _WandBStream(
            wandb.init(
                project=self.project,
                name=run.name,
                id=identity(run),
                resume="allow" if self.mode == "online" else None,  # steps that are there are not sent again
                mode=self.mode,
                dir=str(folder),
                config=run.config,
                settings=wandb.Settings(x_disable_stats=True, console="off", silent=True),
            )
        )


class _TrackerStream:
    """A stream to a run object with W&B's interface (`log`, `finish`)."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def send(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self, status: str) -> None:
        self.run.finish()


class _WandBStream(_TrackerStream):
    def close(self, status: str) -> None:
        self.run.finish(exit_code=0 if status in ("finished", "stopped") else 1)


Sink = Annotated[TensorBoard | Trackio | WandB, Choice(SinkProtocol)]


@block
class _Named:
    sink: Sink


def sink_from(text: str) -> Any:
    """Build a sink from YAML text: a name, or a name and settings."""
    return load(_Named, {}, [("sink", text)], base=Path.cwd()).sink


def identity(run: Run) -> str:
    """Return an identifier that is the same for every replay of a run and different for other runs."""
    with reading_run(run.path):
        content = (run.path / "config.yaml").read_bytes() + str(run.info.get("started")).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"sink {extra}: {error}; pip install 'overopt[{extra}]'") from error
