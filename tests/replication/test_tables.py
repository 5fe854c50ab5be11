from typing import Any

from overopt.outcomes import Label, Outcome
from overopt.replication.members import CLOSED_GATE, Member, Members, Setting
from overopt.replication.tables import claims_table, markdown_table, reward_models_table, runs_table, with_interval


def policy(
    row: str, setting: Setting, seed: int, label: Label | None, rates: tuple[float, float], reason: str = ""
) -> Member:
    evaluations = [
        {"step": 0, "win_rate": rates[0], "proxy_mean": 0.5, "kl_ref": 0.0},
        {"step": 80, "win_rate": rates[1], "proxy_mean": 2.0 - seed, "kl_ref": 10.0 + seed},
    ]
    outcome = Outcome(label, reason)
    return Member(f"{row}-{setting}-{seed}", row, setting, seed, "online", "finished", {}, outcome, {}, evaluations)


def test_runs_over_seeds() -> None:
    """Win rates of .5 and .7: sd .1414, t_1 12.71, so .6 +- 12.71 * .1; it is cut at 0 and 1."""
    runs = (
        policy("KL-1B", {}, 0, "GOOD", (0.4, 0.6)),
        policy("ME-1B-1e-6", {"coef": 0.5}, 0, "OVER", (0.4, 0.5)),
        policy("ME-1B-1e-6", {"coef": 0.5}, 1, "GOOD", (0.5, 0.7)),
        policy("ME-1B-1e-6", {"coef": 1.0}, 0, None, (0.4, 0.3), reason=CLOSED_GATE + "no better than counting"),
        policy("ME-1B-1e-6", {"coef": 1.0}, 1, None, (0.4, 0.3), reason="no evaluation"),
        Member("SFT-1B", "SFT-1B", {}, 0, "sft", "finished", {}, Outcome(None, "")),
    )
    planned = (*((run.row, run.setting, run.seed) for run in runs), ("KL-1B", {}, 1), ("DPO-1B", {}, 0))
    assert runs_table(Members("s", "miniature", runs, planned)) == (
        "| row | setting | labels | SFT's win rate | win rate (95 %) | KL | proxy |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: |\n"
        "| KL-1B | - | GOOD 1, missing 1 | 0.40 | 0.60 | 10 | +1.50 |\n"
        "| ME-1B-1e-6 | coef = 0.5 | OVER 1, GOOD 1 | 0.45 | 0.60 (0.00 to 1.00) | 10.5 | +1.00 |\n"
        "| ME-1B-1e-6 | coef = 1 | behind a gate 1, unlabeled 1 | 0.40 | 0.30 (0.30 to 0.30) | 10.5 | +1.00 |\n"
        "| DPO-1B | - | missing 1 | - | - | - | - |\n"
    )


def test_the_interval_is_students() -> None:
    """sd .1, t_2 4.303 at 95 %: .5 +- 4.303 * .1 / sqrt(3)."""
    assert with_interval([0.4, 0.5, 0.6]) == "0.50 (0.25 to 0.75)"


def test_reward_models_stand_beside_counting() -> None:
    last = {
        "step": 500, "accuracy": 0.66, "gold_agreement": 0.75, "label_ceiling": 0.89, "baseline_length_agreement": 0.7,
        "baseline_words_agreement": 0.71, "baseline_content_agreement": 0.8, "above_baselines": -1.25,
    }  # fmt: skip
    rows = [("RM-1B", 100, [{"step": 0, "accuracy": 0.5}, last]), ("HH-RM", 100, [{"step": 9, "accuracy": 0.6}])]
    runs = tuple(
        Member(f"{row}-{seed}", row, {}, seed, "reward_model", "finished", {}, Outcome(None, ""), {}, evaluations)
        for row, seed, evaluations in rows
    )
    table = reward_models_table(Members("s", "miniature", runs, tuple((run.row, {}, run.seed) for run in runs)))
    assert table == (
        "| row | seed | accuracy | agreement | ceiling | characters | different words | content words"
        " | above all counts, SE |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| RM-1B | 100 | 0.660 | 0.750 | 0.890 | 0.700 | 0.710 | 0.800 | -1.2 |\n"
        "| HH-RM | 100 | 0.600 | - | - | - | - | - | - |\n"
    )


def test_text_stays_within_its_cell() -> None:
    assert markdown_table(["a", "b"], [["x|y\nz", ""]], right=["b"]) == "| a | b |\n| --- | ---: |\n| x\\|y z | - |\n"


def test_claims_with_the_numbers_on_which_they_hang() -> None:
    """The two nearest to their thresholds are shown, each once; those without a value do not count."""
    numbers = [
        {"what": "far", "value": 0.9, "se": 0.02, "threshold": 0.1, "margin": 0.8},
        {"what": "KL-1B: win rate less SFT's", "value": 0.25, "se": 0.031, "threshold": 0.06, "margin": 0.19},
        {"what": "tau", "value": -0.123456, "threshold": -0.3, "margin": -0.1765},
        {"what": "tau", "value": -0.123456, "threshold": -0.3, "margin": -0.1765},
        {"what": "unknown", "value": None},
        {"what": "by the way", "value": 1.0},
    ]
    rows: list[dict[str, Any]] = [
        {"id": "C17", "statement": "KL | holds", "verdict": "replicated", "reason": "GOOD and stable [quick]",
         "numbers": numbers, "runs": ["KL-1B-seed=100", "KL-1B-seed=101", "ME-1B-1e-6-coef=-0.5-seed=100"],
         "seeds": {"held": 4, "tested": 5, "low": 0.376, "high": 0.964}},
        {"id": "C1", "statement": "theory", "verdict": "replicated", "reason": "T3", "numbers": [], "runs": [],
         "seeds": None},
        {"id": "C36", "statement": "HH", "verdict": "not tested", "reason": "no run", "numbers": [], "runs": [],
         "seeds": {"held": 0, "tested": 0}},
    ]  # fmt: skip
    assert claims_table(rows).splitlines()[2:] == [
        r"| C17 | KL \| holds | **replicated** | 4/5 (0.38 to 0.96) | GOOD and stable [quick] | tau: -0.123 (margin"
        r" -0.18); KL-1B: win rate less SFT's: 0.25 (SE 0.031, margin +0.19); 2 more | KL-1B: 2, ME-1B-1e-6: 1 |",
        "| C1 | theory | **replicated** | - | T3 | - | - |",
        "| C36 | HH | **not tested** | - | no run | - | - |",
    ]
