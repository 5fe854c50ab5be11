from __future__ import annotations

import pytest

from overopt.records import load_run
from overopt.training.run.session import Session
from overopt.training.run.trainer_state import TrainerState

QUALITY = {1: 0.4, 2: 0.6, 3: 0.6, 4: 0.5}


@pytest.mark.parametrize(("keep", "kept"), [("every", [1, 2, 3, 4]), ("last", [4]), ("best", [2])])
def test_which_checkpoints_stay(session: Session, trainer: TrainerState, keep: str, kept: list[int]) -> None:
    """Of equals the earlier is the best."""
    with session.start(trainer, 4, checkpoints=QUALITY) as run:
        run.checkpointer.keep = keep  # type: ignore[assignment]
        for step, quality in QUALITY.items():
            run.checkpointer.save(step, quality, elapsed=1.0)
        assert run.checkpointer.best == QUALITY[kept[-1]]
    assert load_run(session.out).checkpoints() == kept


def test_a_state_is_saved_where_it_is_due(session: Session, trainer: TrainerState) -> None:
    with session.start(trainer, 5, checkpoints=[4], states=[2]) as run:
        assert [step for step in range(6) if run.checkpointer.due(step)] == [0, 2, 4]
        run.checkpointer.save(2, None, elapsed=1.0)
        assert (session.out / "trainer" / "step-2").is_dir() and not load_run(session.out).checkpoints()
    assert not (session.out / "trainer").exists()  # a finished run has nothing to go on from
