from dataclasses import replace

import numpy as np
import pytest
import synthetic_study as synthetic
from synthetic_study import GOOD, OVER, Spec

from overopt.replication.members import Member, Members
from overopt.replication.questions import early_signs
from overopt.replication.questions.early_signs import alarm, answer, calibrate, sign_of, turn

STEPS = np.arange(1.0, 81.0)
SEEDS = (100, 101, 102)


def jump(at: float, size: float) -> np.ndarray:
    return size * (STEPS - at >= 0)


def run(seed: int, bad: bool, turns: float = 30, **series: np.ndarray) -> Member:
    """A run whose gold rises to `turns` and falls from there; the other series are given."""
    made = synthetic.member("ME-1B-1e-6", {}, seed, Spec(**(OVER if bad else GOOD)))  # type: ignore[arg-type]
    found = {name: (STEPS, values) for name, values in series.items()}
    return replace(made, series={"gold_mean": (STEPS, -np.abs(STEPS - turns)), **found})


def study(bad: dict[str, np.ndarray], good: dict[str, np.ndarray]) -> Members:
    runs = [run(seed, True, **bad) for seed in SEEDS]
    runs += [replace(run(seed, False, **good), name=f"good-{seed}") for seed in SEEDS]
    return Members("maxent-failure-modes", "miniature", tuple(runs), ())


def test_gold_turns_where_its_running_mean_is_greatest() -> None:
    assert turn(run(100, True, turns=30)) == 30


def test_an_alarm_is_the_first_running_mean_beyond_the_threshold() -> None:
    one = run(100, True, kl_ref=jump(20, 3.0))
    # running means of three updates: 1 at step 20, 2 at 21, 3 from 22 on
    assert [alarm(one, "kl_ref", threshold) for threshold in (0.9, 1.0, 2.5, 3.0)] == [20, 21, 22, np.inf]
    assert alarm(run(100, True, kl_ref=-jump(20, 3.0)), "kl_ref", 0.9) == 20  # a fall counts as well


def test_thresholds_that_a_share_of_good_runs_passes() -> None:
    runs = [run(seed, False, x=jump(20, float(seed))) for seed in range(1, 21)]
    assert calibrate(runs, ["x", "absent"], 0.0) == {"x": 20.0}
    assert calibrate(runs, ["x"], 0.05) == {"x": 19.0}  # one of twenty lies above
    assert sum(np.isfinite(alarm(one, "x", 19.0)) for one in runs) == 1


def test_a_planted_lead_of_ten_updates_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_signs, "THRESHOLDS", {"kl_ref": 1.0, "entropy_tok": 1.0, "len_mean": 1.0})
    bad = {"kl_ref": jump(20, 9.0), "entropy_tok": jump(40, 9.0), "len_mean": jump(10, 9.0)}
    good = {"kl_ref": jump(99, 9.0), "entropy_tok": jump(99, 9.0), "len_mean": jump(50, 9.0)}
    found = answer(study(bad, good))
    # length moves first, but in good runs as well
    assert found.decision == "kl_ref moves first"
    assert (
        "moves first: it passes its threshold before that in 100% of them, by +10 [+10, +10] updates" in found.paragraph
    )
    assert "Too many false alarms: len_mean (100%)" in found.paragraph
    leads = {row["quantity"]: row["lead_mean"] for row in found.table}
    assert leads == {"kl_ref": 10, "entropy_tok": -10, "len_mean": 20}


def test_a_reversed_truth_reverses_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_signs, "THRESHOLDS", {"kl_ref": 1.0, "entropy_tok": 1.0})
    quiet = {"kl_ref": jump(99, 9.0), "entropy_tok": jump(99, 9.0)}
    found = answer(study({"kl_ref": jump(40, 9.0), "entropy_tok": jump(20, 9.0)}, quiet))
    assert found.decision == "entropy_tok moves first"
    late = answer(study({"kl_ref": jump(40, 9.0), "entropy_tok": jump(50, 9.0)}, quiet))
    assert late.decision == "none moves before gold in half of the runs"
    assert "kl_ref comes closest, but passes its threshold before that in 0% of them, by -10" in late.paragraph


def test_a_sign_counts_only_runs_that_record_it() -> None:
    bad = [run(100, True, x=jump(20, 9.0)), run(101, True)]
    good = [run(102, False, x=jump(99, 9.0)), run(103, False, x=jump(5, 9.0))]
    sign = sign_of("x", 1.0, bad, good)
    assert sign is not None and (sign.over_optimized, sign.flagged, sign.before) == (1, 1.0, 1.0)
    assert (sign.good, sign.false_alarms) == (2, 0.5)
    assert sign_of("y", 1.0, bad, good) is None


def test_every_quantity_has_a_meaning_in_the_records() -> None:
    from overopt.records.legend import METRICS
    from overopt.replication.exchange import KEPT

    assert set(early_signs.THRESHOLDS) <= set(METRICS)
    assert {"gold_mean", *early_signs.THRESHOLDS} <= set(KEPT["online"]), "a published study has the same answer"


def test_runs_of_minimum_entropy_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_signs, "THRESHOLDS", {"kl_ref": 1.0})
    found = answer(study({"kl_ref": jump(20, 9.0)}, {"kl_ref": jump(99, 9.0)}))
    whole = study({"kl_ref": jump(20, 9.0)}, {"kl_ref": jump(99, 9.0)})
    others = [replace(run, row="MIN-1B", name=f"MIN-{run.name}") for run in whole.runs]
    again = answer(Members(whole.study, whole.scale, (*whole.runs, *others), ()))
    assert again.paragraph == found.paragraph and "3 good runs" in found.paragraph


def test_without_good_runs_nothing_is_tested() -> None:
    runs = tuple(run(seed, True) for seed in SEEDS)
    assert answer(Members("s", "miniature", runs, ())).decision == "not tested"
