from dataclasses import replace
from pathlib import Path

import pytest

from overopt.records import RunWriter
from overopt.stopping.history import HistoryReader, own_evaluations


def test_a_watch_reads_on_and_a_past_can_be_cut(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", "stage: online\n", {"stage": "online"}) as writer:
        reader = HistoryReader(writer.path)
        assert (reader.read().step, reader.read().best_step()) == (0, 0)
        writer.log_evaluation({"step": 0, "judge": "gold", "split": "tuning", "win_rate": 0.5})
        for step, rate in ((1, 0.6), (2, 0.6), (3, 0.4)):
            writer.log(step, {"loss": float(step)})
            writer.log_timings(step, {"elapsed": step})
            writer.log_evaluation({"step": step, "judge": "gold", "split": "tuning", "win_rate": rate})
        history = reader.read()
        assert (history.step, history.best_step(), history.evaluated()) == (3, 1, True)  # of equals the earlier
        writer.log(4, {"loss": 4.0})
        history = reader.read()
        assert (history.step, history.evaluated(), len(history.updates)) == (4, False, 4)
    before = history.until(2)
    assert [row["step"] for row in before.updates] == [1, 2]
    assert [row["step"] for row in before.timings] == [1, 2]
    assert [row["step"] for row in before.evaluations] == [0, 1, 2]
    assert before.evaluated()


def test_evaluations_are_those_of_the_judge_with_a_win_rate() -> None:
    pairs = {"step": 0, "judge": "pairs", "split": "tuning", "accuracy": 0.7}
    gold = {"step": 0, "judge": "gold", "split": "tuning", "win_rate": 0.5}
    assert own_evaluations([pairs, gold]) == [gold]
    assert own_evaluations([pairs]) == [pairs]
    assert own_evaluations([]) == []


def test_the_evaluations_spend_the_error_of_a_run_by_the_steps_between_them(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", "stage: online\n", {"stage": "online", "steps": 40}) as writer:
        for step in (0, 4, 8, 20, 39):
            writer.log_evaluation({"step": step, "judge": "gold", "split": "tuning", "win_rate": 0.5})
        history = HistoryReader(writer.path).read()
    shares = {step: history.allowed(step) for step in (4, 8, 20, 39)}
    assert shares == pytest.approx({4: 0.005, 8: 0.005, 20: 0.015, 39: 0.05 * 19 / 40})
    assert replace(history, error=0.01).allowed(4) == pytest.approx(0.001)
    assert history.until(8).allowed(8) == history.allowed(8), "what a replay asks is what the run asked"
