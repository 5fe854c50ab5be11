import json
import math

import pytest

from overopt.analysis.power_table import power_rows, power_text
from overopt.statistics.power import RULE, STUDENT, Comparison

FOUND = Comparison(0.1, 0.05, 0.7)


def test_rows_hold_every_case_and_every_need() -> None:
    rows = power_rows(FOUND, [3, 5], [100, 400], 0.8)
    assert [(case["seeds"], case["prompts"]) for case in rows["cases"]] == [(3, 100), (3, 400), (5, 100), (5, 400)]
    assert rows["cases"][1]["se"] == pytest.approx(math.sqrt((0.0025 + 0.49 / 400) / 3))
    assert rows["cases"][2][STUDENT]["power"] == FOUND.power(5, 100, STUDENT)
    assert rows["cases"][2][RULE]["false_positives"] == FOUND.false_positives(5, 100)
    assert rows["cases"][2][RULE]["simulated"] == FOUND.simulate(5, 100)
    assert rows["seeds_needed"][1] == {
        "prompts": 400, RULE: FOUND.seeds_needed(400, 0.8), STUDENT: FOUND.seeds_needed(400, 0.8, STUDENT)
    }  # fmt: skip
    assert rows["prompts_needed"][0] == {"seeds": 3, RULE: FOUND.prompts_needed(3, 0.8), STUDENT: None}
    assert rows["floors"][0]["se"] == pytest.approx(0.05 / math.sqrt(3))
    json.dumps(rows, allow_nan=False)


def case(power: float) -> dict[str, float]:
    return {"power": power, "simulated": power + 0.01, "false_positives": 0.06}


def test_the_table_and_the_needs_as_text() -> None:
    rows = {
        "difference": 0.1, "sd_seeds": 0.05, "sd_prompts": 0.7, "power": 0.8,
        "cases": [{"seeds": 5, "prompts": 1000, "se": 0.0245, RULE: case(0.9), STUDENT: case(0.7)}],
        "seeds_needed": [{"prompts": 1000, RULE: 3, STUDENT: 1200}, {"prompts": 1, RULE: None, STUDENT: None}],
        "prompts_needed": [{"seeds": 5, RULE: 1, STUDENT: None}],
        "floors": [
            {"seeds": 5, "se": 0.0224, "smallest_difference_rule": 0.065, "smallest_difference_student": None}
        ],
    }  # fmt: skip
    lines = power_text(rows, "a against b").splitlines()
    assert lines[:6] == [
        "a against b",
        "difference +0.100; sd over seeds 0.050; sd of one prompt within a seed 0.700",
        "",
        "seeds  prompts     SE  power  simulated  false +  t: power  simulated  false +",
        "------------------------------------------------------------------------------",
        "    5     1000  0.025   0.90       0.91     0.06      0.70       0.71     0.06",
    ]
    assert lines[-6:] == [
        "to find this difference with a power of 0.8:",
        "  1,000 prompts: 3 seeds; by the t-test 1,200",
        "  1 prompt: no number of seeds is enough",
        "  5 seeds: 1 prompt; by the t-test no number is enough",
        "however many prompts are judged:",
        "  5 seeds: standard error 0.022 or more; the least difference with that power is 0.065, by the t-test above 1",
    ]
