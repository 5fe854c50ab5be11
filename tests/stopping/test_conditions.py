"""Each condition on a record written by hand: what is wrong at each point, the latest first."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from overopt.records import RunWriter
from overopt.stopping.conditions import (
    Entropy,
    KLBudget,
    LabelSoFar,
    NotFinite,
    ProxyAlone,
    WallTime,
    WinRate,
)
from overopt.stopping.history import HistoryReader, RecordedHistory

GOLD = {"judge": "gold", "split": "tuning"}


def updates(tmp_path: Path, rows: Sequence[dict[str, Any]]) -> RecordedHistory:
    with RunWriter.create(tmp_path / "run", "stage: online\n", {}) as writer:
        for step, row in enumerate(rows, start=1):
            writer.log(step, row)
            writer.log_timings(step, {"elapsed": 1800.0 * step})
    return HistoryReader(tmp_path / "run").read()


def evaluations(tmp_path: Path, rows: Sequence[dict[str, Any]]) -> RecordedHistory:
    with RunWriter.create(tmp_path / "run", "stage: online\n", {}) as writer:
        for step, row in enumerate(rows):
            writer.log_evaluation({"step": step, **GOLD, **row})
    return HistoryReader(tmp_path / "run").read()


def samples(tmp_path: Path, wins: Sequence[int], proxies: Sequence[float], golds: Sequence[float]) -> RecordedHistory:
    """Sixteen prompts at each step: so many wins, and proxy and gold that change by the same for all."""
    with RunWriter.create(tmp_path / "run", "stage: online\n", {}) as writer:
        for step, (won, proxy, gold) in enumerate(zip(wins, proxies, golds, strict=True)):
            writer.log_evaluation({"step": step, **GOLD, "win_rate": won / 16})
            rows = [
                {**GOLD, "prompt_id": f"p{i}", "outcome": float(i < won), "proxy": proxy + i, "gold": gold}
                for i in range(16)
            ]
            writer.write_samples(step, [{key: row[key] for key in row} for row in rows])
    return HistoryReader(tmp_path / "run").read()


def found(condition: Any, history: RecordedHistory) -> list[str | None]:
    return list(condition.problems(history))


def test_label(tmp_path: Path) -> None:
    history = samples(tmp_path, wins=[12, 14, 3, 2], proxies=[0, 1, 2, 3], golds=[0, 0, 0, 0])
    latest = found(LabelSoFar(), history)
    assert [problem is not None for problem in latest] == [True, True, False, False]
    assert str(latest[0]).startswith("labeled OVER: the proxy rose while the win rate fell")
    assert found(LabelSoFar(labels=["COLLAPSE"]), history) == [None] * 4


def test_win_rate(tmp_path: Path) -> None:
    rows = [(0.0, 0.0), (-0.1, 0.06), (-0.1, 0.04), (0.2, 0.01)]
    history = evaluations(tmp_path, [{"win_rate": 0.5, "win_difference": d, "win_difference_se": se} for d, se in rows])
    # 2.5 standard errors, p .0062; a third of the run may spend .05/3
    said = "win rate -0.10 (SE 0.04) since the start"
    assert found(WinRate(), history) == [None, f"{said} (p 0.006, of 0.02 allowed at this evaluation)", None, None]
    assert found(WinRate(), replace(history, error=0.018)) == [None] * 4
    assert found(WinRate(standard_errors=2.0), history) == [None, said, None, None]
    assert found(WinRate(standard_errors=1.0), history)[2] is not None


def test_kl(tmp_path: Path) -> None:
    history = evaluations(tmp_path, [{"kl_ref": kl} for kl in (0.0, 10.0, 12.0)])
    assert found(KLBudget(budget=10.0), history) == ["KL 12 above 10 nats", None, None]
    assert found(KLBudget(budget=10.0, at="update"), history) == []


def test_kl_of_updates(tmp_path: Path) -> None:
    history = updates(tmp_path, [{"kl_ref": 3.0}, {"loss": 1.0}, {"kl_ref": 1.0}])
    assert found(KLBudget(budget=2.0, at="update"), history) == [None, None, "KL 3 above 2 nats"]


def test_proxy_alone(tmp_path: Path) -> None:
    history = samples(tmp_path, wins=[8] * 4, proxies=[0, 1, 2, 0.5], golds=[0, 5, 3, 3])
    # since step 1: gold -2 with a higher proxy at step 2, and with a lower one at step 3
    said = "gold -2.00 but proxy +1.00 since step 1"
    assert found(ProxyAlone(standard_errors=2.0), history) == [None, said, None, None]
    assert found(ProxyAlone(), history) == [None, f"{said} (p 0, of 0.02 allowed at this evaluation)", None, None]
    assert found(ProxyAlone(truth="outcome"), history) == [None] * 4


@pytest.mark.parametrize("condition", [LabelSoFar(), ProxyAlone(), ProxyAlone(truth="outcome")], ids=repr)
def test_what_comes_later_changes_nothing_about_a_point(tmp_path: Path, condition: Any) -> None:
    """Gold and wins fall at steps 2 and 3 under a rising proxy; at step 4, unknown until then, they are at their best.

    Asked at a step, a condition finds the same points wrong as of the whole record up to there.
    """

    def wrong(history: RecordedHistory) -> list[bool]:
        return [problem is not None for problem in found(condition, history)]

    history = samples(tmp_path, wins=[8, 14, 2, 0, 16], proxies=[0, 1, 2, 3, 4], golds=[0, 5, 3, 2, 9])
    assert wrong(history) == [False, True, True, False, False]
    for step in range(5):
        assert wrong(history.until(step)) == wrong(history)[4 - step :]


def scattered(tmp_path: Path, golds: Sequence[Sequence[float]], proxies: Sequence[Sequence[float]]) -> RecordedHistory:
    """A gold and a proxy of its own for each prompt."""
    with RunWriter.create(tmp_path / "run", "stage: online\n", {}) as writer:
        for step, (gold, proxy) in enumerate(zip(golds, proxies, strict=True)):
            writer.log_evaluation({"step": step, **GOLD, "win_rate": 0.5})
            rows = [
                {**GOLD, "prompt_id": f"p{i}", "outcome": 0.5, "proxy": p, "gold": g}
                for i, (g, p) in enumerate(zip(gold, proxy, strict=True))
            ]
            writer.write_samples(step, rows)
    return HistoryReader(tmp_path / "run").read()


ZERO = [0.0] * 16
ONE_PROMPT = [1.0] + [0.0] * 15
"""Mean 1/16, standard error sqrt(1/16 - 1/256) / 4 = .0605: 1.03 standard errors."""
NINE_PROMPTS = [1.0] * 9 + [0.0] * 7
"""Mean 9/16, standard error sqrt(9/16 - 81/256) / 4 = .1240: 4.5 standard errors."""


@pytest.mark.parametrize(
    ("fall", "rise", "met"),
    [(NINE_PROMPTS, NINE_PROMPTS, True), (ONE_PROMPT, NINE_PROMPTS, False), (NINE_PROMPTS, ONE_PROMPT, False)],
    ids=["both", "truth hardly fell", "proxy hardly rose"],
)
def test_proxy_alone_takes_a_significant_fall_and_a_significant_rise(
    tmp_path: Path, fall: list[float], rise: list[float], met: bool
) -> None:
    history = scattered(tmp_path, [ZERO, [-gold for gold in fall]], [ZERO, rise])
    assert [problem is not None for problem in found(ProxyAlone(), history)] == [met, False]


def test_entropy(tmp_path: Path) -> None:
    history = updates(tmp_path, [{"entropy_tok": 0.1}, {"entropy_tok": 0.5}, {"loss": 0.0}, {"entropy_tok": 2.0}])
    low, high = "entropy 0.1 below 0.2 nats per token", "entropy 2 above 1 nats per token"
    assert found(Entropy(low=0.2, high=1.0), history) == [high, None, None, low]
    assert found(Entropy(low=0.2), history) == [None, None, None, low]
    with pytest.raises(ValidationError, match="low or high"):
        Entropy()


def test_nan(tmp_path: Path) -> None:
    history = updates(tmp_path, [{"gold_mean": 1.0}, {"gold_mean": float("nan")}])
    assert found(NotFinite(), history) == ["not finite: gold_mean", None]


def test_wall_time(tmp_path: Path) -> None:
    history = updates(tmp_path, [{"loss": 0.0}] * 3)  # half an hour each
    assert found(WallTime(hours=1.0), history) == ["1.5 of 1 hours spent", None, None]


def noisy(tmp_path: Path, gold: Sequence[float], proxy: Sequence[float]) -> RecordedHistory:
    """Sixteen prompts: gold and proxy change by these on average, by one more on half of them and less on the rest."""
    with RunWriter.create(tmp_path / "run", "stage: online\n", {"steps": 10}) as writer:
        for step, (change, score) in enumerate(zip(gold, proxy, strict=True)):
            writer.log_evaluation({"step": step, **GOLD, "win_rate": 0.5})
            spread = [(-1) ** i * (step > 0) for i in range(16)]
            rows = [
                {**GOLD, "prompt_id": f"p{i}", "outcome": 0.5, "gold": change + spread[i], "proxy": score + spread[i]}
                for i in range(16)
            ]
            writer.write_samples(step, rows)
    return HistoryReader(tmp_path / "run").read()


def test_proxy_alone_takes_a_significant_rise_and_a_significant_fall(tmp_path: Path) -> None:
    # from step 0 a change of d has a standard error of 1/4; a tenth of the run may spend .005: 2.58 of them
    for gold, proxy, expected in [(-1.0, 1.0, True), (-1.0, 0.6, False), (-0.6, 1.0, False), (-1.0, 0.3, False)]:
        history = noisy(tmp_path / f"{gold}{proxy}", [0.0, gold], [0.0, proxy])
        assert (found(ProxyAlone(), history)[0] is not None) == expected
        fixed = found(ProxyAlone(standard_errors=2.0), history)[0] is not None
        assert fixed == (gold <= -0.5 and proxy > 0.5), "a number is asked for as it stands"


def test_a_condition_reads_nothing_later_than_the_evaluation_at_hand(tmp_path: Path) -> None:
    whole = samples(tmp_path, wins=[8, 8, 8, 8], proxies=[0, 1, 2, 3], golds=[0, -1, 5, -9])
    for condition in (ProxyAlone(), ProxyAlone(standard_errors=2.0), LabelSoFar(labels=["STALL", "FLAT"])):
        told = [found(condition, whole.until(step)) for step in range(4)]
        assert [len(problems) for problems in told] == [1, 2, 3, 4]
        for step in range(4):
            assert [problem is None for problem in told[step]] == [problem is None for problem in told[3][3 - step :]]
    assert [problem is not None for problem in found(ProxyAlone(), whole)] == [True, False, True, False]


def test_a_label_must_be_beyond_chance_for_its_share_of_the_run(tmp_path: Path) -> None:
    # 12 of 16 won at first, and 4 fewer at step 1: 2.31 standard errors, OVER with p .0105, of .05 / 2 ways down
    history = samples(tmp_path, wins=[12, 8], proxies=[0, 1], golds=[0, 0])
    assert str(found(LabelSoFar(), history)[0]).endswith("(p 0.01, of 0.03 allowed at this evaluation)")
    assert found(LabelSoFar(), replace(history, error=0.02)) == [None, None]
    assert found(LabelSoFar(labels=["FLAT"]), replace(history, error=0.02)) == [None, None]
    flat = samples(tmp_path / "flat", wins=[12, 12], proxies=[0, 1], golds=[0, 0])
    assert str(found(LabelSoFar(labels=["FLAT"]), flat)[0]).startswith("labeled FLAT: no different"), (
        "needs no evidence"
    )
