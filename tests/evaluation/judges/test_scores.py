from __future__ import annotations

from overopt.evaluation.judges.scores import TIE, outcome, outcomes


def test_a_win_a_tie_and_a_loss() -> None:
    assert [outcome(-1.0, -1.5), outcome(0.3, 0.1 + 0.2), outcome(-2.0, -1.5)] == [1.0, 0.5, 0.0]


def test_an_absent_score_gives_no_outcome() -> None:
    assert outcomes([1.0, None, 3.0], [0.0, 0.0, None]) == [1.0, None, None]


def test_a_tie_is_as_wide_as_rounding() -> None:
    """Scores from double precision: two sums of the same terms may differ by some 1e-16, scores that differ do not."""
    assert TIE == 1e-9
    for base in (0.0, 1.0, -3.5):
        assert [outcome(base + gap, base) for gap in (2e-9, 5e-10, -5e-10, -2e-9)] == [1.0, 0.5, 0.5, 0.0]
