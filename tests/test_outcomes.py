import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from judged_again import MODEL, judge_again

from overopt.outcomes import Outcome, checkpoints, judges_of, label
from overopt.records import RunWriter, load_run

N = 16
FOUR = [1.0] * 4 + [0.0] * 12
"""SFT wins 4 of 16."""
TWELVE = [1.0] * 12 + [0.0] * 4
SFT_PROXY = [-1.0, 1.0] * 8
"""Mean 0, standard deviation 1."""
Column = Sequence[float | None]


def shifted(by: float) -> list[float]:
    return [score + by for score in SFT_PROXY]


def labelled(
    path: Path,
    outcomes: dict[int, Column],
    proxies: dict[int, Column],
    *,
    ended: dict[int, int] | None = None,
    status: str = "finished",
    metrics: dict[str, float] | None = None,
) -> Outcome:
    """Write a run with these outcomes and proxies by step and label it; `ended` counts completions with an EOS."""
    with RunWriter.create(path / "run", "stage: online\n", {}) as writer:
        for step, column in outcomes.items():
            wins = [value for value in column if value is not None]
            writer.log_evaluation({"step": step, "split": "tuning", "judge": "gold", "win_rate": sum(wins) / len(wins)})
            rows = zip(column, proxies[step], strict=True)
            writer.write_samples(
                step,
                [
                    {"prompt_id": f"p{i}", "split": "tuning", "judge": "gold", "outcome": outcome, "proxy": proxy}
                    | ({"ended": i < ended[step]} if ended else {})
                    for i, (outcome, proxy) in enumerate(rows)
                ],
            )
        if metrics:
            writer.log(1, metrics)
        if status != "running":
            writer.finish(status)
    return label(load_run(path / "run"))


def test_good(tmp_path: Path) -> None:
    found = labelled(tmp_path, {0: FOUR, 10: TWELVE}, {0: SFT_PROXY, 10: shifted(1)}, ended={0: 16, 10: 16})
    assert (found.label, found.stable) == ("GOOD", True)
    # 8 prompts won that SFT lost: D = .5, se = sqrt(8 - 64/16)/16 = .125
    assert found.numbers["difference"] == 0.5
    assert found.numbers["difference_se"] == pytest.approx(0.125)
    assert (found.numbers["win_rate"], found.numbers["sft_win_rate"], found.numbers["n"]) == (0.75, 0.25, 16)
    assert (found.numbers["proxy_change"], found.numbers["proxy_change_se"], found.numbers["proxy_sd"]) == (1, 0, 1)
    assert found.reason == (
        "better than SFT: win rate 0.75 against SFT's 0.25 (difference +0.50, SE 0.12), "
        "proxy +1.00 (SE 0.00), peak 0.75 at step 10"
    )


def test_over(tmp_path: Path) -> None:
    found = labelled(tmp_path, {0: TWELVE, 10: FOUR}, {0: SFT_PROXY, 10: shifted(1)}, ended={0: 16, 10: 16})
    assert (found.label, found.stable) == ("OVER", False)
    assert (found.numbers["peak_step"], found.numbers["peak_drop"]) == (0, 0.5)


def test_collapse_is_a_fall_without_a_rising_proxy(tmp_path: Path) -> None:
    found = labelled(tmp_path, {0: TWELVE, 10: FOUR}, {0: SFT_PROXY, 10: shifted(-1)})
    assert (found.label, found.stable) == ("COLLAPSE", False)


def test_a_rise_within_two_standard_errors_is_none(tmp_path: Path) -> None:
    # a change of 1 +- 2 over prompts: se = 2/sqrt(16) = .5, and 1 is not above 2 * .5
    noisy = [score + 1 + 2 * (-1) ** (i // 2) for i, score in enumerate(SFT_PROXY)]
    found = labelled(tmp_path, {0: TWELVE, 10: FOUR}, {0: SFT_PROXY, 10: noisy})
    assert found.numbers["proxy_change"] == pytest.approx(1)
    assert found.numbers["proxy_change_se"] == pytest.approx(0.5)
    assert found.label == "COLLAPSE"


def test_over_peak_is_a_fall_from_the_peak_back_to_sft(tmp_path: Path) -> None:
    found = labelled(
        tmp_path,
        {0: FOUR, 10: TWELVE, 20: FOUR},
        {0: SFT_PROXY, 10: shifted(1), 20: shifted(2)},
    )
    assert found.label == "OVER-PEAK"
    assert (found.numbers["peak_step"], found.numbers["peak_win_rate"], found.numbers["peak_drop"]) == (10, 0.75, 0.5)
    assert found.numbers["peak_drop_se"] == pytest.approx(0.125)


def test_a_fall_from_the_peak_that_stays_above_sft_is_good(tmp_path: Path) -> None:
    found = labelled(
        tmp_path,
        {0: [0.0] * N, 10: [1.0] * N, 20: TWELVE},
        {0: SFT_PROXY, 10: shifted(1), 20: shifted(2)},
    )
    assert found.label == "GOOD"


@pytest.mark.parametrize(("change", "expected"), [(0.5, "FLAT"), (0.1, "FLAT"), (0.09, "STALL"), (-0.09, "STALL")])
def test_no_difference_is_flat_or_if_the_proxy_did_not_move_a_stall(
    tmp_path: Path, change: float, expected: str
) -> None:
    found = labelled(tmp_path, {0: FOUR, 10: FOUR}, {0: SFT_PROXY, 10: shifted(change)}, ended={0: 10, 10: 8})
    assert (found.label, found.stable) == (expected, True)  # 8 of 10 still end: .8 is just enough
    assert found.numbers["difference"] == found.numbers["difference_se"] == 0


def test_a_difference_of_two_standard_errors_counts(tmp_path: Path) -> None:
    # b = 4 of 16 discordant: D = .25, se = sqrt(4 - 1)/16 = .108: 2.31 SE; b = 3: D = .1875, se = .0976: 1.92 SE
    for count, expected in [(4, "GOOD"), (3, "FLAT")]:
        won = [1.0] * (4 + count) + [0.0] * (12 - count)
        found = labelled(tmp_path / expected, {0: FOUR, 10: won}, {0: SFT_PROXY, 10: shifted(1)})
        assert found.label == expected
        assert found.numbers["difference_se"] == pytest.approx(math.sqrt(count - count**2 / 16) / 16)


def test_a_fall_from_the_peak_without_a_rising_proxy_is_no_over_optimization(tmp_path: Path) -> None:
    found = labelled(
        tmp_path,
        {0: FOUR, 10: TWELVE, 20: FOUR},
        {0: SFT_PROXY, 10: shifted(1), 20: shifted(-1)},
    )
    assert found.label == "FLAT"
    assert (found.numbers["peak_step"], found.numbers["peak_drop"]) == (10, 0.5)


def test_another_judge_s_samples_of_the_same_prompts_are_left_alone(tmp_path: Path) -> None:
    """All lost under the other judge at step 10 and all won at step 0: read along, they would turn GOOD into OVER."""
    labelled(tmp_path, {0: FOUR, 10: TWELVE}, {0: SFT_PROXY, 10: shifted(1)})
    before = label(load_run(tmp_path / "run"))
    with RunWriter.open(tmp_path / "run") as writer:
        for step, outcome in ((0, 1.0), (10, 0.0)):
            other = {"split": "tuning", "judge": "reward_model", "outcome": outcome, "proxy": 9.0}
            writer.write_samples(step, [{"prompt_id": f"p{i}", **other} for i in range(N)])
    found = label(load_run(tmp_path / "run"))
    assert (found.label, found.numbers["difference"], found.numbers["proxy_change"]) == ("GOOD", 0.5, 1)
    assert found == before


def test_a_stall_is_measured_by_the_spread_of_the_first_scores(tmp_path: Path) -> None:
    """The mean moves by .15: more than .1 of the first scores' standard deviation 1, less than .1 of the last's 3."""
    last = [3 * score + 0.15 for score in SFT_PROXY]
    found = labelled(tmp_path / "wider", {0: FOUR, 10: FOUR}, {0: SFT_PROXY, 10: last})
    assert (found.label, found.numbers["proxy_sd"]) == ("FLAT", 1)
    assert found.numbers["proxy_change"] == pytest.approx(0.15)
    narrow = [score / 3 + 0.05 for score in SFT_PROXY]  # .05 is more than .1 of the last scores' 1/3
    assert labelled(tmp_path / "narrower", {0: FOUR, 10: FOUR}, {0: SFT_PROXY, 10: narrow}).label == "STALL"


def test_only_prompts_judged_both_times_are_paired(tmp_path: Path) -> None:
    before: Column = [None, 0.5, *FOUR[2:]]
    after: Column = [1.0, 0.5, None, *TWELVE[3:]]
    found = labelled(tmp_path, {0: before, 10: after}, {0: SFT_PROXY, 10: shifted(1)})
    assert found.numbers["n"] == 14
    assert found.numbers["difference"] == pytest.approx(8 / 14)


def test_unstable_if_completions_no_longer_end_or_anything_was_nan(tmp_path: Path) -> None:
    outcomes: dict[int, Column] = {0: FOUR, 10: TWELVE}
    proxies: dict[int, Column] = {0: SFT_PROXY, 10: shifted(1)}
    found = labelled(tmp_path / "a", outcomes, proxies, ended={0: 16, 10: 12})
    assert (found.label, found.stable) == ("GOOD", False)
    found = labelled(tmp_path / "b", outcomes, proxies, ended={0: 16, 10: 16}, metrics={"loss": float("nan")})
    assert (found.label, found.stable) == ("GOOD", False)
    found = labelled(tmp_path / "c", outcomes, proxies, ended={0: 16, 10: 16}, status="diverged")
    assert found.stable is False
    assert found.reason.endswith("; the run diverged")
    assert labelled(tmp_path / "d", outcomes, proxies).stable is None


def test_what_cannot_be_decided_has_no_label_but_a_reason(tmp_path: Path) -> None:
    proxies: dict[int, Column] = {0: SFT_PROXY, 10: shifted(1), 20: shifted(1)}
    nothing: Column = [None] * N
    cases: list[tuple[dict[int, Column], dict[int, Column], str, str]] = [
        ({0: FOUR, 10: FOUR}, proxies, "running", "the run is running, not finished"),
        ({0: FOUR, 10: FOUR}, proxies, "failed", "the run is failed, not finished"),
        ({}, proxies, "finished", "a label takes evaluations at two steps; this run has 0"),
        ({0: FOUR}, proxies, "finished", "a label takes evaluations at two steps; this run has 1"),
        ({10: FOUR, 20: FOUR}, proxies, "finished", "the SFT policy was not evaluated: the first evaluation is of"),
        ({0: FOUR, 10: FOUR}, {0: nothing, 10: nothing}, "finished", "no prompt has a proxy score at both step 0"),
    ]
    for i, (outcomes, scores, status, reason) in enumerate(cases):
        found = labelled(tmp_path / str(i), outcomes, scores, status=status)
        assert found.label is None and found.numbers == {} and found.stable is None
        assert found.reason.startswith(reason)


def test_samples_that_were_removed_leave_no_label(tmp_path: Path) -> None:
    labelled(tmp_path, {0: FOUR, 10: TWELVE}, {0: SFT_PROXY, 10: shifted(1)})
    (tmp_path / "run" / "samples" / "step-10.parquet").unlink()
    found = label(load_run(tmp_path / "run"))
    assert (found.label, found.reason) == (None, "no prompt has an outcome at both step 0 and step 10")


def test_another_split_in_the_same_files_is_left_alone(tmp_path: Path) -> None:
    labelled(tmp_path, {0: FOUR, 10: TWELVE}, {0: SFT_PROXY, 10: shifted(1)})
    with RunWriter.open(tmp_path / "run") as writer:
        writer.log_evaluation({"step": 20, "split": "test", "judge": "gold", "win_rate": 0.0})
        writer.write_samples(10, [{"prompt_id": "p0", "split": "test", "judge": "gold", "outcome": 0.0, "proxy": 0.0}])
    found = label(load_run(tmp_path / "run"))
    assert (found.label, found.numbers["difference"]) == ("GOOD", 0.5)


def test_the_thresholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(tmp_path, {0: FOUR, 10: TWELVE}, {0: SFT_PROXY, 10: shifted(1)})  # D is 4 standard errors
    run = load_run(tmp_path / "run")
    monkeypatch.setattr("overopt.outcomes.SIGNIFICANCE", 4.0)
    assert label(run).label == "GOOD"
    monkeypatch.setattr("overopt.outcomes.SIGNIFICANCE", 4.5)
    assert label(run).label == "FLAT"
    monkeypatch.setattr("overopt.outcomes.STALL", 1.5)
    assert label(run).label == "STALL"


def test_the_label_so_far_is_that_of_the_first_evaluations(tmp_path: Path) -> None:
    outcomes = {0: FOUR, 10: TWELVE, 20: [0.0] * 16}
    proxies = {0: SFT_PROXY, 10: shifted(1), 20: shifted(2)}
    whole = labelled(tmp_path, outcomes, proxies, status="running")
    assert whole.label is None
    run = load_run(tmp_path / "run")
    assert label(run, until=10).label == "GOOD"
    assert label(run, until=20).label == "OVER"
    assert label(run, until=0).label is None


def test_a_stopped_run_is_labelled(tmp_path: Path) -> None:
    found = labelled(tmp_path, {0: TWELVE, 10: FOUR}, {0: SFT_PROXY, 10: shifted(1)}, status="stopped")
    assert found.label == "OVER"
    assert found.reason.endswith("; the run was stopped")


def peaks(tmp_path: Path, looks: int, fallen: int) -> Outcome:
    """From 4 of 16 won to `fallen` more at step 10, back at the end; between them checkpoints of others that won."""
    columns: dict[int, Column] = {0: FOUR, 10: [1.0] * (4 + fallen) + [0.0] * (12 - fallen)}
    for look in range(looks - 2):
        others = [0.0] * 16
        for won in range(4):
            others[(5 * look + 3 * won) % 16] = 1.0
        columns[20 + look] = others
    columns[90] = FOUR
    return labelled(tmp_path, columns, {step: shifted(step / 10) for step in columns})


def test_a_peak_among_more_checkpoints_must_stand_out_more(tmp_path: Path) -> None:
    # 4 of 16 discordant: a fall of .25, SE .108: 2.31 of them, one-sided p .0105 where it is the only look
    alone, many = peaks(tmp_path / "a", looks=2, fallen=4), peaks(tmp_path / "b", looks=12, fallen=4)
    for found in (alone, many):
        assert (found.numbers["peak_step"], found.numbers["peak_drop"]) == (10, 0.25)
        assert found.numbers["peak_drop_se"] == pytest.approx(math.sqrt(4 - 1) / 16)
    assert (alone.label, alone.past_peak) == ("OVER-PEAK", True)
    assert alone.p == alone.numbers["peak_p"] == pytest.approx(0.01046, abs=1e-5)
    assert (many.label, many.past_peak, many.p) == ("FLAT", False, None)
    assert 0.05 < many.numbers["peak_p"] < 0.12
    assert peaks(tmp_path / "c", looks=12, fallen=8).label == "OVER-PEAK", "4 standard errors"


def test_a_fall_from_the_peak_takes_a_proxy_that_rose(tmp_path: Path) -> None:
    outcomes = {0: FOUR, 10: TWELVE, 20: FOUR}
    for change in (0.0, -1.0):
        proxies = {0: SFT_PROXY, 10: shifted(change), 20: shifted(change)}
        found = labelled(tmp_path / str(change), outcomes, proxies)
        assert (found.label, found.past_peak) == ("FLAT" if change else "STALL", True)


def test_how_likely_the_evidence_of_a_label_is_by_chance(tmp_path: Path) -> None:
    rising = {0: SFT_PROXY, 10: shifted(1)}
    good = labelled(tmp_path / "good", {0: FOUR, 10: TWELVE}, rising)
    over = labelled(tmp_path / "over", {0: TWELVE, 10: FOUR}, rising)
    flat = labelled(tmp_path / "flat", {0: FOUR, 10: FOUR}, rising)
    assert good.p == over.p == pytest.approx(3.167e-5, rel=1e-3)  # 4 standard errors
    assert flat.p is None


def test_the_stall_is_measured_in_deviations_of_the_first_scores(tmp_path: Path) -> None:
    # .15 is above a tenth of the first scores' deviation, 1, and below one of the last's, 2
    wide = [2 * score + 0.15 for score in SFT_PROXY]
    found = labelled(tmp_path, {0: FOUR, 10: FOUR}, {0: SFT_PROXY, 10: wide})
    assert (found.label, found.numbers["proxy_sd"]) == ("FLAT", 1)


ZERO, ALL = [0.0] * N, [1.0] * N
BETTER: dict[int, Column] = {0: FOUR, 10: TWELVE, 20: TWELVE}
RISING: dict[int, Column] = {0: SFT_PROXY, 10: shifted(1), 20: shifted(2)}


def test_every_judge_labels_by_its_own_outcomes(tmp_path: Path) -> None:
    own = labelled(tmp_path, BETTER, RISING)
    judge_again(tmp_path / "run", {0: TWELVE, 10: FOUR, 20: FOUR})
    judge_again(tmp_path / "run", {0: FOUR, 10: FOUR, 20: FOUR}, "reward_model")
    run = load_run(tmp_path / "run")
    assert judges_of(run) == ["gold", MODEL, "reward_model"]
    assert label(run) == label(run, judge="gold") == own
    found = label(run, judge=MODEL)
    assert (found.label, found.numbers["win_rate"], found.numbers["sft_win_rate"]) == ("OVER", 0.25, 0.75)
    assert found.numbers["difference"] == -0.5
    assert found.numbers["proxy_change"] == 2, "of the same completions"
    assert label(run, judge="reward_model").label == "FLAT"
    assert label(run, until=10, judge=MODEL).numbers["proxy_change"] == 1
    assert [checkpoint.step for checkpoint in checkpoints(run, 10, MODEL)] == [0, 10]


def test_a_judge_of_some_checkpoints_labels_by_these_and_says_so(tmp_path: Path) -> None:
    labelled(tmp_path, BETTER, RISING)
    judge_again(tmp_path / "run", {0: TWELVE, 10: FOUR})
    run = load_run(tmp_path / "run")
    found = label(run, judge=MODEL)
    assert found.label == "OVER"
    assert found.reason.endswith(f"; {MODEL} has made 2 of 3 evaluations, the last of step 10")
    assert not label(run, until=10, judge=MODEL).reason.endswith("evaluations"), "until then it judged all"
    judge_again(tmp_path / "run", {20: FOUR})
    assert label(load_run(tmp_path / "run"), judge=MODEL).reason.endswith("at step 0"), "now it has judged all"


def test_a_judge_without_enough_evaluations_gives_a_reason(tmp_path: Path) -> None:
    labelled(tmp_path, BETTER, RISING)
    run = load_run(tmp_path / "run")
    assert label(run, judge=MODEL).reason == f"a label takes evaluations at two steps; {MODEL} has made 0"
    judge_again(tmp_path / "run", {20: FOUR})
    assert label(run, judge=MODEL).reason == (
        f"a label takes evaluations at two steps; {MODEL} has made 1; {MODEL} has made 1 of 3 evaluations"
    )
    judge_again(tmp_path / "run", {10: FOUR})
    assert label(run, judge=MODEL).reason.startswith(
        f"the SFT policy was not judged by {MODEL}: the first evaluation is of step 10, not 0"
    )


def test_a_judge_that_was_changed_is_not_mixed_with_what_it_was(tmp_path: Path) -> None:
    """The earlier one judged all; the later one only the end, so that there is nothing to compare it with."""
    labelled(tmp_path, BETTER, RISING)
    judge_again(tmp_path / "run", {0: FOUR, 10: TWELVE, 20: TWELVE}, judge_hash="aaa")
    run = load_run(tmp_path / "run")
    assert label(run, judge=MODEL).label == "GOOD"
    judge_again(tmp_path / "run", {20: ZERO}, judge_hash="bbb")
    found = label(run, judge=MODEL)
    assert found.label is None
    assert found.reason.endswith("; those made before it was changed do not count: evaluate again")
    judge_again(tmp_path / "run", {0: TWELVE, 10: FOUR}, judge_hash="bbb")
    assert label(run, judge=MODEL).label == "OVER"
    assert "changed" not in label(run, judge=MODEL).reason


def test_only_what_can_be_compared_with_the_run_s_own_counts(tmp_path: Path) -> None:
    """Against the references, on the run's own split and prompts, within its own token limit: all lost otherwise."""
    labelled(tmp_path, BETTER, RISING)
    path = tmp_path / "run"
    for place in ({"against": "other"}, {"max_completion_tokens": 128}, {"split": "test"}):
        judge_again(path, {0: ALL, 10: ZERO, 20: ZERO}, **place)
        judge_again(path, {0: ALL, 10: ZERO, 20: ZERO}, "gold", **place)
    run = load_run(path)
    assert judges_of(run) == ["gold"]
    assert label(run).label == label(run, judge="gold").label == "GOOD"
    assert label(run, judge=MODEL).reason == (
        f"a label takes evaluations at two steps; {MODEL} has made 0; "
        "9 of other prompts, sides or token limits do not count"
    )
    judge_again(path, {0: FOUR, 10: FOUR, 20: FOUR})
    assert label(run, judge=MODEL).label == "FLAT"


def test_a_run_that_nobody_judged_can_be_judged_later(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", "stage: online\n", {}) as writer:
        for step, proxy in ((0, 0.0), (10, 1.0)):
            writer.log_evaluation({"step": step, "split": "tuning", "judge": "none", "proxy_mean": proxy})
            rows = [{"prompt_id": f"p{i}", "split": "tuning", "judge": "none"} for i in range(N)]
            writer.write_samples(step, [row | {"proxy": proxy + i % 2} for i, row in enumerate(rows)])
        writer.finish("finished")
    run = load_run(tmp_path / "run")
    assert (judges_of(run), label(run).label) == ([], None)
    judge_again(tmp_path / "run", {0: FOUR, 10: TWELVE})
    assert (judges_of(run), label(run, judge=MODEL).label, label(run).label) == ([MODEL], "GOOD", None)
