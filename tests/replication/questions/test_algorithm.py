import pytest
import synthetic_study as synthetic
from synthetic_study import GOOD, OVER, Plan, Spec

from overopt.replication.questions.algorithm import ALGORITHMS, REGULARIZERS, answer, two_way


def plan(failing: dict[tuple[str, str], bool]) -> Plan:
    return {(f"{a}-{r}", ()): Spec(**(OVER if fails else GOOD)) for (a, r), fails in failing.items()}  # type: ignore[arg-type]


def every(rule: object) -> dict[tuple[str, str], bool]:
    return {(a, r): rule(a, r) for a in ALGORITHMS for r in REGULARIZERS}  # type: ignore[operator]


def test_shares_of_a_two_way_table_by_hand() -> None:
    # rows 1 and 3, columns 0 and 1: sums of squares 4, 1 and 0 of 5
    assert two_way([[0.5, 1.5], [2.5, 3.5]]) == pytest.approx((0.8, 0.2, 0.0))
    assert two_way([[0.0, 1.0], [1.0, 0.0]]) == pytest.approx((0.0, 0.0, 1.0))
    assert two_way([[2.0, 2.0], [2.0, 2.0]]) == (0.0, 0.0, 0.0)


def test_the_regularizer_decides() -> None:
    found = answer(synthetic.members(plan(every(lambda a, r: r != "KL")), (120, 121, 122)))
    assert found.decision == "on the regularizer"
    assert "with KL 0 of 5 algorithms end below SFT (none) and 5 above it" in found.paragraph
    assert "with maximum entropy 5 of 5 algorithms end below SFT" in found.paragraph
    assert "the regularizer, not the algorithm, decides" in found.paragraph
    cell = next(row for row in found.table if row["category"] == "LCO" and row["entry"] == "KL")
    assert cell["label"] == "GOOD" and cell["measure"] == "win_rate" and cell["mean"] == pytest.approx(0.7, abs=0.011)
    # these runs do not know their KL
    assert len(found.chart.to_dict()["hconcat"]) == 2 and not any(row["measure"] == "kl_ref" for row in found.table)


def test_a_reversed_truth_reverses_the_answer() -> None:
    found = answer(synthetic.members(plan(every(lambda a, r: a in ("LCO", "GRPO"))), (120, 121, 122)))
    assert found.decision == "on the algorithm"
    assert "with KL 2 of 5 algorithms end below SFT (GRPO and LCO) and 3 above it" in found.paragraph
    assert "the algorithm, not the regularizer, decides" in found.paragraph


def test_one_seed_decides_nothing() -> None:
    found = answer(synthetic.members(plan(every(lambda a, r: r != "KL")), (120,)))
    assert found.decision == "not decided" and "not settled" in found.paragraph


def test_a_missing_cell_is_named() -> None:
    whole = plan(every(lambda a, r: r != "KL"))
    found = answer(synthetic.members({key: spec for key, spec in whole.items() if key[0] != "LCO-KL"}, (120,)))
    assert found.decision == "not tested" and "LCO-KL" in found.paragraph and found.chart is None
