from __future__ import annotations

import json
from contextlib import suppress

import pytest

from overopt.errors import DivergedError, StoppedError, UserError
from overopt.records import Run, load_run
from overopt.training.run.session import Session, last_checkpoint
from overopt.training.run.trainer_state import TrainerState


def test_nothing_is_written_before_the_start(session: Session, trainer: TrainerState) -> None:
    session.dropped("demonstrations").add("too long", 3)
    session.dropped("demonstrations").kept = 97
    notices: list[str] = []
    session.notice = notices.append
    assert not session.out.exists()
    with session.start(trainer, 3, split="tuning"):
        info = json.loads((session.out / "run.json").read_text())
    assert info["status"] == "running"
    assert info["dropped"] == {"demonstrations": {"too long": 3}}
    assert info["kept"] == {"demonstrations": 97}
    assert notices == [f"{session.out}: demonstrations: 3 of 100 records are left out (3 x too long)"]
    assert info["provenance"] == {"lr": "our choice"}
    assert (info["stage"], info["seed"], info["steps"], info["split"]) == ("sft", 0, 3, "tuning")
    assert info["device"] == "cpu" and info["threads"] == 1


def ended_by(error: BaseException, session: Session, trainer: TrainerState) -> Run:
    """A run of three steps that keeps the second, and is then ended."""
    with suppress(KeyboardInterrupt, ZeroDivisionError), session.start(trainer, 3, checkpoints=[2]) as run:
        run.keep(2)
        raise error
    return load_run(session.out)


def test_a_stop_in_time_is_recorded(session: Session, trainer: TrainerState) -> None:
    info = ended_by(StoppedError(2, "kl", "it is far", 1), session, trainer).info
    assert (info["status"], info["stopped_at"], info["stopped_by"], info["go_back_to"]) == ("stopped", 2, "kl", 1)
    assert not session.interrupts.waiting and not (session.out / "trainer").exists()


def test_a_run_that_diverges_says_what_is_kept(session: Session, trainer: TrainerState) -> None:
    with pytest.raises(UserError, match="loss is nan at step 3; the checkpoint of step 2 is kept. Lower lr"):
        ended_by(DivergedError(3, "loss is nan"), session, trainer)
    run = load_run(session.out)
    assert (run.status, run.info["diverged_at"]) == ("diverged", 3)
    assert last_checkpoint(run) == "the checkpoint of step 2 is kept"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "running"), (ZeroDivisionError(), "failed")])
def test_what_else_ends_it(error: BaseException, status: str, session: Session, trainer: TrainerState) -> None:
    """After Ctrl-C the run can be gone on with."""
    assert ended_by(error, session, trainer).status == status
    assert (session.out / "trainer" / "step-2").is_dir()
