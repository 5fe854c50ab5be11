from collections.abc import Iterator
from pathlib import Path

from overopt.records import Run, RunWriter, load_run
from overopt.stopping import HistoryReader, RecordedHistory, Stop, decide, replay
from overopt.stopping.conditions import Entropy, KLBudget, LabelSoFar, WinRate

LOW = Entropy(low=1.0, patience=2)


def run_of(tmp_path: Path, entropies: list[float], kls: dict[int, float]) -> Path:
    with RunWriter.create(tmp_path / "run", "stage: online\n", {}) as writer:
        for step in range(len(entropies) + 1):
            if step:
                writer.log(step, {"entropy_tok": entropies[step - 1]})
            if step in kls:
                row = {"win_rate": 0.5 - step / 100, "kl_ref": kls[step], "win_difference": 0.0}
                writer.log_evaluation({"step": step, "judge": "gold", "split": "tuning", **row})
    return tmp_path / "run"


def test_patience_counts_points_in_a_row(tmp_path: Path) -> None:
    run = load_run(run_of(tmp_path, [0.5, 2.0, 0.5, 0.5, 0.5], {0: 0.0}))
    stop = replay([LOW], run)
    assert stop == Stop(4, "entropy", "entropy 0.5 below 1 nats per token", go_back_to=0)
    assert replay([Entropy(low=1.0, patience=4)], run) is None


def test_an_update_that_was_not_evaluated_asks_no_condition_on_evaluations(tmp_path: Path) -> None:
    """The first evaluation is over the budget already, but that of step 0 stops nothing, and step 4 is the next."""
    budget = KLBudget(budget=5.0, patience=1)
    run: Run = load_run(run_of(tmp_path, [2.0] * 6, {0: 9.0, 4: 9.0, 6: 9.0}))
    stop = replay([budget], run)
    assert stop == Stop(4, "kl", "KL 9 above 5 nats", go_back_to=0)


def test_before_any_evaluation_nothing_is_decided_by_one(tmp_path: Path) -> None:
    history: RecordedHistory = HistoryReader(run_of(tmp_path, [2.0] * 3, {})).read()
    assert not history.evaluated()
    assert not history.until(0).evaluated()
    conditions = [WinRate(patience=1), KLBudget(budget=5.0, patience=1), LabelSoFar(patience=1)]
    assert decide(conditions, history) is None
    assert decide([*conditions, Entropy(low=3.0, patience=1)], history) == Stop(
        3, "entropy", "entropy 2 below 3 nats per token", go_back_to=0
    )


def test_evaluations_count_only_where_they_are_made(tmp_path: Path) -> None:
    run = load_run(run_of(tmp_path, [2.0] * 8, {0: 0.0, 2: 9.0, 4: 9.0, 8: 9.0}))
    stop = replay([WinRate(), KLBudget(budget=5.0)], run)
    assert stop is not None
    assert (stop.step, stop.condition, stop.go_back_to) == (4, "kl", 0)


def test_a_stop_at_the_last_step_is_none(tmp_path: Path) -> None:
    assert replay([LOW], load_run(run_of(tmp_path, [2.0, 0.5, 0.5], {}))) is None


def falling(tmp_path: Path, z: float, count: int) -> Run:
    """Forty steps, evaluated at every fourth; the last `count` of them lie z standard errors below the start."""
    with RunWriter.create(tmp_path / "run", "stage: online\n", {"stage": "online", "steps": 44}) as writer:
        for step in range(41):
            writer.log(step, {"loss": 0.0})
            if step % 4 == 0:
                row = {
                    "win_rate": 0.5,
                    "win_difference": -z * 0.01 * (step > 40 - 4 * count),
                    "win_difference_se": 0.01,
                }
                writer.log_evaluation({"step": step, "judge": "gold", "split": "tuning", **row})
        writer.log(41, {"loss": 0.0})
    return load_run(tmp_path / "run")


def test_conditions_share_one_budget_of_errors(tmp_path: Path) -> None:
    # an evaluation may spend 4/44 of .05: p .0045, 2.61 SE; of two conditions that spend half of it: 2.84 SE
    run = falling(tmp_path, 2.7, count=2)
    stop = replay([WinRate()], run)
    assert stop is not None and (stop.step, stop.condition) == (40, "win_rate")
    assert stop.reason == "win rate -0.03 (SE 0.01) since the start (p 0.003, of 0.005 allowed at this evaluation)"
    assert replay([WinRate(), KLBudget(budget=1.0), Entropy(low=0.1)], run) == stop, "limits spend nothing"
    assert replay([WinRate(), WinRate(standard_errors=3.0)], run) == stop, "nor does what is asked for by a number"
    assert replay([WinRate(), LabelSoFar()], run) is None
    assert replay([WinRate(), WinRate()], falling(tmp_path / "b", 2.9, count=2)) is not None


def test_what_a_condition_asks_for_by_a_number_is_asked_for_at_each_evaluation(tmp_path: Path) -> None:
    run = falling(tmp_path, 2.1, count=2)
    assert replay([WinRate()], run) is None
    assert replay([WinRate(standard_errors=2.0), LabelSoFar()], run) is not None


def test_nothing_is_asked_before_something_was_evaluated(tmp_path: Path) -> None:
    class Met:
        config_name, at, patience, spends = "met", "evaluation", 1, False

        def problems(self, history: RecordedHistory) -> Iterator[str | None]:
            yield "always"

    run = load_run(run_of(tmp_path, [2.0] * 8, {4: 9.0}))
    whole = HistoryReader(run.path).read()
    assert [step for step in range(8) if decide([Met()], whole.until(step))] == [4]
