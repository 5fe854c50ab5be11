"""The sentence above the table."""

from __future__ import annotations

from pathlib import Path

from fake_runs import BETTER, WORSE, Evaluated, online_run
from judged_again import MODEL, judge_again

from overopt.analysis.report.collect import collect
from overopt.analysis.report.verdicts import sentence

SAME = (Evaluated(0, 4), Evaluated(20, 4, 1.0))
BROKEN = (Evaluated(0, 4), Evaluated(20, 0, -1.0))


def test_each_outcome_is_said_with_its_numbers(tmp_path: Path) -> None:
    online_run(tmp_path / "kl", BETTER)
    online_run(tmp_path / "low", (*BETTER[:2], Evaluated(20, 9, 1.0)))
    online_run(tmp_path / "none", WORSE)
    online_run(tmp_path / "bad", BROKEN)
    online_run(tmp_path / "same", SAME)
    online_run(tmp_path / "going", status=None)
    assert sentence(collect([tmp_path]).groups[0]) == (
        "Of 6 runs, starting from SFT's 40%, 1 over-optimized: none (the proxy rose by +3.00 while the win rate ended "
        "at 0%); bad broke down to a win rate of 0%; kl and low improved on SFT, the best, kl, to 100% [80%, 100%]; "
        "same did not clearly change (40%); not judged: going."
    )


def test_no_run_over_optimized_is_said_too_and_many_are_counted(tmp_path: Path) -> None:
    for name in "abcdef":
        online_run(tmp_path / name, SAME)
    said = sentence(collect([tmp_path]).groups[0])
    assert "none over-optimized: 6 runs (a, b, c, d and 2 more) did not clearly change (40%)." in said


def test_one_run_has_its_own_verdict(tmp_path: Path) -> None:
    online_run(tmp_path / "none", WORSE, status="diverged", diverged_at=21)
    assert sentence(collect([tmp_path]).groups[0]) == (
        "none: Over-optimized: the proxy went from +0.00 to +3.00 while the win rate fell from 40% (SFT) to 0%."
        " The run diverged at step 21."
    )


def test_seeds_are_counted_by_setting(tmp_path: Path) -> None:
    for seed in range(3):
        online_run(tmp_path / f"kl-{seed}", BETTER if seed else SAME, changes={"seed": seed})
        online_run(tmp_path / f"none-{seed}", WORSE, changes={"seed": seed, "regularizers": []})
    assert sentence(collect([tmp_path]).groups[0]) == (
        "Of 6 runs, starting from SFT's 40%, 3 over-optimized: "
        "kl 0.2, lr 0.0005: 1 did not clearly change, 2 improved on SFT (win rate 80%, interquartile mean); "
        "none, lr 0.0005: 3 over-optimized (win rate 0%, interquartile mean)."
    )


def test_the_judge_is_named_where_it_is_not_the_runs_own_or_not_alone(tmp_path: Path) -> None:
    run = online_run(tmp_path / "none", WORSE)
    assert sentence(collect([tmp_path]).groups[0]).startswith("none: Over-optimized: ")
    judge_again(run, {0: [0.0] * 10, 20: [1.0] * 10})
    assert sentence(collect([tmp_path]).groups[0]).startswith("By gold: none: Over-optimized: ")
    assert sentence(collect([tmp_path], ["gold"]).groups[0]).startswith("none: Over-optimized: ")
    assert sentence(collect([tmp_path], [MODEL]).groups[0]) == (
        f"By {MODEL}: none: Improved: the win rate rose from 0% (SFT) to 100%; the proxy went from +0.00 to +3.00."
    )
