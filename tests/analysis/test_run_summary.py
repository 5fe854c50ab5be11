"""Summaries and verdicts from records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import WORSE, online_run
from fake_study import COUNTED, POSTS, finished_run
from judged_again import MODEL, judge_again

from overopt.analysis.run_summary import (
    SUMMARY_FIELDS,
    Judged,
    RunSummary,
    describe_baselines,
    evaluations_of,
    objective_of,
    summarize_run,
    verdict,
)
from overopt.records import RunWriter, load_run

KL = {"lr": 5e-4, "regularizers": [{"name": "kl", "coef": 0.2}]}


@pytest.mark.parametrize(
    ("config", "objective"),
    [
        (KL, ("kl", 0.2)),
        ({"regularizers": []}, ("none", 0.0)),
        ({"regularizers": ["kl"]}, ("kl", None)),
        ({"regularizers": [{"name": "kl", "coef": {"name": "adaptive_kl"}}]}, ("kl", None)),
        ({"regularizers": [{"name": "kl", "coef": 1}, {"name": "entropy_sum", "coef": 2}]}, ("kl+entropy_sum", None)),
        ({"regularizers": [], "loss_regularizers": [{"name": "token_entropy", "coef": -1}]}, ("token_entropy", -1.0)),
        ({"regularizers": ["kl"], "loss_regularizers": ["k2"]}, ("kl+k2", None)),
        ({"loss": {"name": "simpo", "alpha": 2, "gamma": 0.5}}, ("simpo", 2.0)),
        ({"loss": {"name": "dpo", "beta": 0.05}}, ("dpo", 0.05)),
        ({"loss": "dpo"}, ("dpo", None)),
    ],
)
def test_what_was_optimized(config: dict[str, object], objective: tuple[str, float | None]) -> None:
    assert objective_of(config) == objective


def test_a_row_from_a_record(tmp_path: Path) -> None:
    row = summarize_run("kl", KL, finished_run(tmp_path / "kl", wins=32, proxy=1.0))
    assert row.summary() == {
        "run": "kl", "objective": "kl", "coefficient": 0.2, "lr": 5e-4, "label": "GOOD",
        "win_rate": 0.8, "win_rate_low": 0.8 - 0.1, "win_rate_high": 0.8 + 0.1, "sft_win_rate": 0.4,
        "proxy_start": 0.0, "proxy_end": 1.0, "gold_start": -1.0, "gold_end": -1.0, "kl_ref": 2.0, "gate": None,
        "other_judges": {},
    }  # fmt: skip
    assert tuple(row.summary()) == SUMMARY_FIELDS
    assert row.peak_win_rate is None, "the last checkpoint is the best"


def test_held_out_pairs_are_no_evaluation_of_completions(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", wins=32, proxy=1.0)
    with (run.path / "evaluations.jsonl").open("a") as file:
        file.write('{"step": 80, "split": "tuning", "judge": "pairs", "accuracy": 0.5}\n')
    assert [row["step"] for row in evaluations_of(run)] == [0, 80]
    assert summarize_run("a", KL, run).win_rate == 0.8


def test_behind_a_gate_there_are_numbers_but_no_label(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", wins=32, proxy=1.0)
    row = summarize_run("a", KL, run, gate="sft.win_rate", reason="sft.win_rate is 0.100, below the gate's 0.3")
    assert (row.label, row.gate, row.win_rate) == (None, "sft.win_rate", 0.8)
    assert verdict(row) == "Not judged: sft.win_rate is 0.100, below the gate's 0.3."


def test_without_a_record_the_reason_is_all_there_is() -> None:
    row = summarize_run("a", KL, None, reason="not run, because sft failed")
    assert row == RunSummary(run="a", objective="kl", coefficient=0.2, lr=5e-4, reason="not run, because sft failed")
    assert verdict(row) == "Not judged: not run, because sft failed."


def test_an_unfinished_run_has_no_label(tmp_path: Path) -> None:
    row = summarize_run("a", KL, finished_run(tmp_path / "a", wins=32, proxy=1.0, status="failed"))
    assert row.label is None
    assert verdict(row) == "Not judged: the run is failed, not finished."


@pytest.mark.parametrize(
    ("wins", "proxy", "sentence"),
    [
        (2, 3.0, "Over-optimized: the proxy went from +0.00 to +3.00 while the win rate fell from 40% (SFT) to 5%."),
        (
            2,
            -1.0,
            "Broke down: the win rate fell from 40% (SFT) to 5% without a clear rise of the proxy;"
            " the proxy went from +0.00 to -1.00.",
        ),
        (32, 1.0, "Improved: the win rate rose from 40% (SFT) to 80%; the proxy went from +0.00 to +1.00."),
        (16, 0.0, "Stalled: neither proxy nor win rate moved (from 40% (SFT) to 40%)."),
        (
            16,
            1.0,
            "No clear change of the win rate (from 40% (SFT) to 40%), although the proxy went from +0.00 to +1.00.",
        ),
    ],
)
def test_verdicts(tmp_path: Path, wins: int, proxy: float, sentence: str) -> None:
    assert verdict(summarize_run("a", KL, finished_run(tmp_path / "a", wins, proxy))) == sentence


def test_a_peak_is_told_if_the_end_is_significantly_below_it(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", wins=2, proxy=3.0)  # the peak is SFT itself
    assert summarize_run("a", KL, run).peak_win_rate == 0.4
    row = RunSummary(
        "a", "kl", label="OVER-PEAK", win_rate=0.4, sft_win_rate=0.4, proxy_start=0, proxy_end=1, peak_win_rate=0.7
    )
    assert verdict(row).endswith("but the win rate went from 40% (SFT) to 40%, after a peak of 70%.")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "rm: orders 80% of the held-out pairs as gold; counting reaches 70% (words), 5.0 standard errors below"),
        (
            {"gold_agreement": 0.65, "above_baselines": -1.5},
            "rm: orders 65% of the held-out pairs as gold; counting reaches 70% (words), 1.5 standard errors above",
        ),
    ],
)
def test_a_reward_model_is_compared_with_counting_words(
    tmp_path: Path, values: dict[str, float], sentence: str
) -> None:
    with RunWriter.create(tmp_path / "rm", "stage: reward_model\n", {"stage": "reward_model", "name": "rm"}) as writer:
        writer.log_evaluation({"step": 1, "split": "tuning", "judge": "pairs", **COUNTED, **values})
        writer.finish("finished")
    assert describe_baselines(load_run(tmp_path / "rm")) == sentence
    assert describe_baselines(finished_run(tmp_path / "a", wins=32, proxy=1.0)) == ""


def wins(count: int, of: int = POSTS) -> list[float | None]:
    return [float(post < count) for post in range(of)]


def test_other_judges_are_told_beside_the_run_s_own(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", wins=2, proxy=3.0)
    before = summarize_run("a", KL, run)
    judge_again(run.path, {0: wins(10), 80: wins(30)}, judge_hash="abc")
    row = summarize_run("a", KL, run)
    assert (before.judge, before.others, row.judge) == ("gold", (), "gold")
    assert replace(row, others=()) == before, "the run's own judge says what it said"
    (other,) = row.others
    assert (other.judge, other.label, other.win_rate, other.sft_win_rate) == (MODEL, "GOOD", 0.75, 0.25)
    assert other.reason.startswith("better than SFT: win rate 0.75 against SFT's 0.25")
    assert row.by(MODEL) is other and row.by("nobody") is None
    assert row.by("gold") == Judged("gold", None, "OVER", row.reason, 0.05, 0.05 - 0.1, 0.05 + 0.1, 0.4)
    told = row.summary()
    assert told.pop("other_judges") == {MODEL: {
        "judge_hash": "abc", "label": "GOOD", "reason": other.reason, "win_rate": 0.75,
        "win_rate_low": other.win_rate_low, "win_rate_high": other.win_rate_high, "sft_win_rate": 0.25,
    }}  # fmt: skip
    assert told == {name: value for name, value in before.summary().items() if name != "other_judges"}


def test_the_judge_that_was_asked_for_gives_label_and_win_rates(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", wins=2, proxy=3.0)
    judge_again(run.path, {0: wins(10), 80: wins(30)})
    row = summarize_run("a", KL, run, judges=[MODEL, "gold"])
    assert (row.judge, row.label, row.win_rate, row.sft_win_rate) == (MODEL, "GOOD", 0.75, 0.25)
    assert (row.proxy_end, row.kl_ref) == (3.0, 2.0), "these do not depend on the judge"
    assert [(other.judge, other.label) for other in row.others] == [("gold", "OVER")]
    assert summarize_run("a", KL, run, judges=[MODEL]).others == ()
    missing = summarize_run("a", KL, run, judges=["reward_model"])
    assert (missing.label, missing.win_rate, missing.proxy_end) == (None, None, 3.0)
    assert "reward_model has made 0" in missing.reason


def test_behind_a_gate_no_judge_gives_a_label(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", wins=2, proxy=3.0)
    judge_again(run.path, {0: wins(10), 80: wins(30)})
    (other,) = summarize_run("a", KL, run, gate="sft.win_rate").others
    assert (other.label, other.win_rate) == (None, 0.75)


def test_the_evaluations_by_another_judge_keep_what_no_judge_changes(tmp_path: Path) -> None:
    run = load_run(online_run(tmp_path / "none", WORSE))
    judge_again(run.path, {0: wins(5, 10), 20: [None] * 10})
    rows = evaluations_of(run, MODEL)
    assert [(row["step"], row["judge"], row.get("win_rate"), row["proxy_mean"], row["kl_ref"]) for row in rows] == [
        (0, MODEL, 0.5, 0.0, 0.0), (10, MODEL, None, 2.0, 9.0), (20, MODEL, None, 3.0, 25.0),
    ]  # fmt: skip
    assert "win_difference" not in rows[1], "gold's"
    assert evaluations_of(run, "gold") == evaluations_of(run)
    assert summarize_run("none", KL, run, judges=[MODEL]).win_rate == 0.5, "the last that it gave"
