"""Which judges labeled some runs, and what is said where they disagree."""

from __future__ import annotations

from overopt.analysis.disagreement import disagreements, judges_in, told_apart
from overopt.analysis.run_summary import Judged, RunSummary


def row(run: str, own: str | None, *others: tuple[str, str | None], judge: str = "gold") -> RunSummary:
    judged = tuple(Judged(name, label=label) for name, label in others)
    return RunSummary(run, "kl", label=own, judge=judge, others=judged)


def test_the_runs_on_which_labels_differ_are_named_with_both() -> None:
    rows = [
        row("kl", "GOOD", ("m", "GOOD"), ("b", "GOOD")),
        row("none", "OVER", ("m", "FLAT"), ("b", "OVER")),
        row("simpo", "GOOD", ("m", "STALL")),
    ]
    assert judges_in(rows) == ["gold", "m", "b"]
    assert disagreements(rows) == [
        "gold and m disagree on 2 of 3 runs: none (OVER against FLAT), simpo (GOOD against STALL).",
        "gold and b agree on 2 runs; no label by b: simpo.",
    ]


def test_what_one_judge_cannot_label_is_not_compared() -> None:
    rows = [row("kl", "GOOD", ("m", None)), row("none", None, ("m", "OVER")), row("gated", None, ("m", None))]
    assert disagreements(rows) == ["gold and m have labeled no run together."]
    assert disagreements([row("none", None, ("m", "OVER"))]) == []
    assert disagreements([row("kl", "GOOD", ("m", "OVER"))]) == [
        "gold and m disagree on 1 of 1 run: kl (GOOD against OVER)."
    ]


def test_runs_with_different_judges_of_their_own() -> None:
    """Their labels are never in one column."""
    rows = [row("kl", "GOOD"), row("local", "OVER", ("gold", "FLAT"), judge="reward_model")]
    assert judges_in(rows) == ["gold", "reward_model"]
    assert disagreements(rows) == [
        "gold and reward_model disagree on 1 of 1 run: local (FLAT against OVER); no label by reward_model: kl."
    ]


def test_one_judge_or_none_says_nothing_and_many_runs_are_counted() -> None:
    assert disagreements([row("kl", "GOOD")]) == disagreements([]) == []
    assert judges_in([RunSummary("kl", "kl")]) == []
    many = [row(f"r{place}", "GOOD", ("m", "OVER")) for place in range(12)]
    (sentence,) = disagreements(many)
    assert sentence.startswith("gold and m disagree on 12 of 12 runs: r0 (GOOD against OVER), r1 ")
    assert sentence.endswith("r7 (GOOD against OVER) and 4 more.")


def test_a_judge_s_name_cannot_act_on_a_terminal() -> None:
    (sentence,) = disagreements([row("kl", "GOOD", ("\x1b[31mm\u202e", "OVER"))])
    assert sentence.startswith("gold and ␛[31mm[U+202E] disagree on 1 of 1 run")


def test_one_name_is_never_the_name_of_two_judges() -> None:
    """A judge whose prompt was changed between two runs has two columns; a reward model is each run's own."""

    def judged(run: str, name: str, hash: str) -> RunSummary:
        return RunSummary(run, "kl", label="GOOD", judge="gold", others=(Judged(name, hash, "OVER"),))

    rows = [judged("a", "m", "1111111111"), judged("b", "m", "2222222222"), judged("c", "m", "1111111111")]
    assert judges_in(told_apart(rows)) == ["gold", "m (111111)", "m (222222)"]
    assert disagreements(told_apart(rows)) == [
        "gold and m (111111) disagree on 2 of 2 runs: a (GOOD against OVER), c (GOOD against OVER); "
        "no label by m (111111): b.",
        "gold and m (222222) disagree on 1 of 1 run: b (GOOD against OVER); no label by m (222222): a, c.",
    ]
    own = [judged("a", "reward_model", "1111111111"), judged("b", "reward_model", "2222222222")]
    assert told_apart(own) == own
    same = [judged("a", "m", "1111111111"), judged("c", "m", "1111111111")]
    assert told_apart(same) == same
