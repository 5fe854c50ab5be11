from dataclasses import replace

import pytest
import synthetic_study as synthetic
from synthetic_study import FLAT, GOOD, OVER, Spec

from overopt.replication.members import Member, Members
from overopt.replication.questions.preference_data import OFFLINE, Pairs, answer

SEEDS = (120, 121, 122)
AGREEMENT = {Pairs(1000, 0.5): 0.6, Pairs(1000, 8.0): 0.7, Pairs(8000, 0.5): 0.8, Pairs(8000, 8.0): 0.9}


def study(spec_of: object, seeds: tuple[int, ...] = SEEDS) -> Members:
    """Runs of every kind behind every kind of pairs; `spec_of(kind, pairs)` says what becomes of them."""
    runs: list[Member] = []
    for pairs, agreement in AGREEMENT.items():
        for seed in seeds:
            config = {"pairs": {"count": pairs.number, "label_scale": pairs.label_scale}}
            rm = synthetic.member(f"reward_model-{pairs.number}", {"label_scale": pairs.label_scale}, seed, Spec())
            rm = replace(rm, stage="reward_model", config=config, name=f"rm-{pairs}-{seed}", evaluations=[])
            rm = replace(rm, evaluations=[{"step": 9, "gold_agreement": agreement + 0.01 * (seed - 121)}])
            runs.append(rm)
            for kind in ("none", "ME", "KL", "SimPO", "DPO"):
                stage = "offline" if kind in OFFLINE else "online"
                spec = Spec(stage=stage, **spec_of(kind, pairs))  # type: ignore[operator]
                run = synthetic.member(f"{kind}-{pairs.number}", {}, seed, spec)
                runs.append(replace(run, name=f"{kind}-{pairs}-{seed}", parents={"reward_model": rm.name}))
    planned = tuple((run.row, run.setting, run.seed) for run in runs)
    return Members("preference-data", "miniature", tuple(runs), planned)


def test_a_better_reward_model_removes_the_failure() -> None:
    found = answer(study(lambda kind, pairs: OVER if kind != "KL" and pairs != (8000, 8.0) else GOOD))
    assert found.decision.startswith("no regularizer: a better reward model removes the failure; maximum entropy: a ")
    assert "(8000 pairs, label scale 8) agrees with gold on 0.90 [0.88, 0.92]" in found.paragraph
    assert "worst (1000 pairs, label scale 0.5) on 0.60" in found.paragraph
    assert "1000 pairs, label scale 0.5: GOOD" in found.paragraph  # under KL


def test_a_better_reward_model_delays_the_failure() -> None:
    late = {"wins": (0.4, 0.5, 0.5, 0.5, 0.1), "proxy": 2.0}
    early = {"wins": (0.4, 0.1, 0.1, 0.1, 0.1), "proxy": 2.0}
    found = answer(study(lambda kind, pairs: late if pairs == (8000, 8.0) else early))
    assert "no regularizer: a better reward model delays the failure" in found.decision
    reversed_truth = answer(study(lambda kind, pairs: early if pairs == (8000, 8.0) else late))
    assert "no regularizer: a better reward model hastens the failure" in reversed_truth.decision
    # early: .4 to .1 over 20 steps, .25 at 10; late: .1 at 80, .5 at 60, .3 at 70 of 100 prompts against .4
    falls = {
        r["cell"]: r["mean"] for r in found.table if r["measure"] == "step of fall" and r["kind"] == "maximum entropy"
    }
    assert falls["1000 pairs, label scale 0.5"] == pytest.approx(10, abs=4)
    assert falls["8000 pairs, label scale 8"] == pytest.approx(75, abs=6)


def test_each_panel_shows_every_kind_of_run() -> None:
    found = answer(study(lambda kind, pairs: OVER))
    assert found.chart is not None
    document = found.chart.to_dict()
    shown = [
        {
            row["entry"]
            for layer in panel["layer"]
            for row in document["datasets"][layer["data"]["name"]]
            if "entry" in row
        }
        for panel in document["concat"]
    ]
    online = {"no regularizer", "maximum entropy", "KL"}
    assert shown[:3] == [{"reward model"}, online, online]
    assert {kind.partition(" ")[0] for kind in shown[3]} == {"SimPO", "DPO"}


def test_no_failure_is_nothing_to_remove() -> None:
    found = answer(study(lambda kind, pairs: GOOD))
    assert "changes nothing, since there is no failure with the worst" in found.decision


def test_effects_on_offline_losses() -> None:
    found = answer(study(lambda kind, pairs: GOOD if pairs.number == 8000 else FLAT))
    # .7 against .4 with more pairs, nothing from the labels
    assert "The final win rate of SimPO at 0.001 changes by +0.30 [" in found.paragraph
    assert "with 8000 instead of 1000 pairs, and by +0.00 [" in found.paragraph


def test_too_little_to_compare() -> None:
    whole = study(lambda kind, pairs: OVER)
    alone = Members(whole.study, whole.scale, tuple(run for run in whole.runs if "-8000" in run.row), whole.planned)
    assert answer(alone).decision != "not tested"
    without = Members(whole.study, whole.scale, tuple(run for run in whole.runs if run.row[:2] != "ME"), whole.planned)
    assert answer(without).decision == "not tested"
