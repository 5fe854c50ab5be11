from pathlib import Path

from overopt.records import Run, RunWriter, load_run
from overopt.stopping import Past, Stop, Watch, decide, replay
from overopt.stopping.conditions import Entropy, KLBudget, LabelSoFar, WinRate

LOW = Entropy(low=1.0, patience=2)


def run_of(tmp_path: Path, entropies: list[float], kls: dict[int, float]) -> Path:
    with RunWriter.create(tmp_path / "run", "stage: online\n", {}) as writer:
        for step in range(len(entropies) + 1):
            if step:
                writer.log(step, {"entropy_tok": entropies[step - 1]})
            if step in kls:
                row = {"win_rate": 0.5 - step / 100, "kl_ref": kls[step], "win_difference": 0.0}
                writer.evaluate({"step": step, "judge": "gold", "split": "tuning", **row})
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
    past: Past = Watch(run_of(tmp_path, [2.0] * 3, {})).past()
    assert not past.evaluated()
    assert not past.until(0).evaluated()
    conditions = [WinRate(patience=1), KLBudget(budget=5.0, patience=1), LabelSoFar(patience=1)]
    assert decide(conditions, past) is None
    assert decide([*conditions, Entropy(low=3.0, patience=1)], past) == Stop(
        3, "entropy", "entropy 2 below 3 nats per token", go_back_to=0
    )


def test_evaluations_count_only_where_they_are_made(tmp_path: Path) -> None:
    run = load_run(run_of(tmp_path, [2.0] * 8, {0: 0.0, 2: 9.0, 4: 9.0, 8: 9.0}))
    stop = replay([WinRate(), KLBudget(budget=5.0)], run)
    assert stop is not None
    assert (stop.step, stop.condition, stop.go_back_to) == (4, "kl", 0)


def test_a_stop_at_the_last_step_is_none(tmp_path: Path) -> None:
    assert replay([LOW], load_run(run_of(tmp_path, [2.0, 0.5, 0.5], {}))) is None
