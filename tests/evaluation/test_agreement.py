from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny import Chain

from overopt.errors import UserError
from overopt.evaluation.agreement import FILE, ask, compare, judge_agreement, read_labelled_pairs, refuse_equals
from overopt.evaluation.judges.base import Comparison, Identity, Judgement, Position, Reply, Situation, Verdict
from overopt.evaluation.judges.gold import Gold
from overopt.evaluation.judges.reward_model import RewardModelJudge
from overopt.statistics import outcomes_interval, position_bias, wilson
from overopt.tasks import Miniature
from overopt.types import Completion, Dropped, PromptRecord

LATER, EARLIER = "2999-01-01T00:00:00+00:00", "1999-01-01T00:00:00+00:00"
Rule = Callable[[str, str], str]
"""From the two texts, as they stand, to `first`, `second`, `tie` or `invalid`."""


@dataclass
class Fake:
    """A judge that reads both orders by a rule."""

    name: str
    rule: Rule
    date: str = LATER
    hash: str = "0" * 12
    invalid_loses: bool = False

    def identity(self, situation: Situation) -> Identity:
        return Identity(self.name, self.hash)

    def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
        return [self._judge(comparison) for comparison in comparisons]

    def _judge(self, comparison: Comparison) -> Judgement:
        replies = [self._reply(comparison, position) for position in ("A", "B")]
        verdicts = [reply.verdict for reply in replies]
        if "invalid" in verdicts:
            return Judgement(0.0 if self.invalid_loses else None, tuple(replies))
        return Judgement(sum({"ours": 1, "tie": 0.5, "reference": 0}[v] for v in verdicts) / 2, tuple(replies))

    def _reply(self, comparison: Comparison, position: Position) -> Reply:
        ours, reference = comparison.ours.text, comparison.reference.text
        said = self.rule(ours, reference) if position == "A" else self.rule(reference, ours)
        verdicts: dict[str, Verdict] = {"tie": "tie", "invalid": "invalid"}
        verdict = verdicts.get(said) or ("ours" if (said == "first") == (position == "A") else "reference")
        return Reply(position, verdict, said, 1, self.date)


def right(first: str, second: str) -> str:
    return "first" if "good" in first else "second"


def longer(first: str, second: str) -> str:
    return "first" if len(first) > len(second) else "second"


def always_first(first: str, second: str) -> str:
    return "first"


def cannot_read_a_third(first: str, second: str) -> str:
    return "invalid" if "third" in first else right(first, second)


PAIRS = [
    {"prompt": "1", "chosen": "good, and longer", "rejected": "bad"},
    {"prompt": "2", "chosen": "good", "rejected": "bad, and longer"},
    {"prompt": "3", "chosen": "third good, and longer", "rejected": "bad"},
    {"prompt": "4", "chosen": "good", "rejected": "evil"},
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    return path


def test_the_numbers_of_each_judge(pairs: Path) -> None:
    judges = [Fake("right", right), Fake("longer", longer), Fake("first", always_first)]
    document = judge_agreement(pairs, judges)
    assert (document["n"], document["left_out"], document["source"]) == (4, {}, str(pairs))
    best, length, first = document["judges"]

    low, high = wilson(4, 4)
    assert best["accuracy"] == {"value": 1, "low": pytest.approx(low), "high": pytest.approx(high), "n": 4}
    assert (best["n"], best["invalid"], best["ties"]) == (4, 0, 0)
    assert best["position_bias"]["value"] == 0
    assert best["order_consistency"]["value"] == 1
    assert best["length_bias"] == pytest.approx({"value": 0, "low": -0.56, "high": 0.56, "n": 3}, abs=0.01)

    # right, wrong, right; of two equally long texts it always says the second, which is a tie
    assert length["accuracy"]["value"] == (1 + 0 + 1 + 0.5) / 4
    assert (length["accuracy"]["low"], length["accuracy"]["high"]) == outcomes_interval([1, 0, 1, 0.5])
    assert length["ties"] == 1
    # both replies to the fourth pair prefer the second: 3 of 8 prefer the first
    assert length["position_bias"]["value"] == pytest.approx(3 / 8 - 1 / 2)
    assert length["order_consistency"]["value"] == 3 / 4
    # the longer of three pairs: the judge in all, humans in two
    assert length["length_bias"]["value"] == pytest.approx(1 / 3)
    assert document["humans_prefer_longer"]["value"] == pytest.approx(2 / 3)

    assert first["accuracy"]["value"] == 0.5
    assert first["position_bias"]["value"] == 0.5
    assert first["order_consistency"]["value"] == 0
    assert first["kappa"]["value"] == 0


def test_judges_are_compared_with_each_other(pairs: Path) -> None:
    document = judge_agreement(pairs, [Fake("right", right), Fake("longer", longer), Fake("first", always_first)])
    assert [row["judges"] for row in document["between"]] == [
        ["right", "longer"],
        ["right", "first"],
        ["longer", "first"],
    ]
    assert [row["agreement"]["value"] for row in document["between"]] == [0.625, 0.5, 0.625]
    assert [row["right"] for row in document["pairs"]] == [[1, 1, 0.5], [1, 0, 0.5], [1, 1, 0.5], [1, 0.5, 0.5]]
    assert document["pairs"][1]["place"] == f"{pairs}:2"


@pytest.mark.parametrize("invalid_loses", [False, True])
def test_invalid_pairs_are_left_out_whatever_the_judge_makes_of_them(pairs: Path, invalid_loses: bool) -> None:
    judges = [Fake("blind", cannot_read_a_third, invalid_loses=invalid_loses), Fake("longer", longer)]
    document = judge_agreement(pairs, judges)
    row = document["judges"][0]
    assert (row["n"], row["invalid"], row["accuracy"]["value"], row["accuracy"]["n"]) == (3, 1, 1, 3)
    assert document["between"][0]["agreement"]["n"] == 3
    assert document["pairs"][2]["right"] == [None, 1]
    # the other order's reply to the third pair was read, and preferred the text that stands second
    first = [[1, 0], [0, 1], [np.nan, 0], [1, 0]]
    assert row["position_bias"]["value"] == pytest.approx(position_bias(first).value)  # type: ignore[union-attr]


def test_seconds_are_those_of_judgements_that_were_made_now(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 20.0, 23.0, 30.0, 36.0])
    monkeypatch.setattr("overopt.evaluation.agreement.time.monotonic", lambda: next(clock))
    read = read_labelled_pairs(pairs)
    assert ask(Fake("new", right), read, Situation()).seconds == 2 / 4
    assert ask(Fake("cached", right, EARLIER), read, Situation()).seconds is None

    class Scores(Fake):
        def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
            return [Judgement(1.0) for _ in comparisons]

    assert ask(Scores("scores", right), read, Situation()).seconds == 6 / 4


def test_judges_without_replies_and_several_judges_have_no_position(pairs: Path) -> None:
    class Several(Fake):
        def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
            made = super().judge(comparisons, situation)
            return [Judgement(one.outcome, one.replies, (one.outcome, 1.0)) for one in made]

    (row,) = judge_agreement(pairs, [Several("majority", right)])["judges"]
    assert row["accuracy"]["value"] == 1
    assert not {"position_bias", "order_consistency"} & set(row)


def test_gold_knows_the_better_summary(tmp_path: Path) -> None:
    """Summaries of the miniature world against their first words: columns of the file reach the task's gold reward."""
    task = Miniature(evaluation_count=6)
    _, records = task.evaluation(0, Dropped())
    path = tmp_path / "pairs.jsonl"
    with path.open("w") as file:
        for record in records:
            half = " ".join(str(record.reference).split()[:3])
            pair = {"prompt": record.prompt, "chosen": record.reference, "rejected": half, **record.meta}
            file.write(json.dumps(pair) + "\n")
    (row,) = judge_agreement(path, [Gold()], Situation(task=task))["judges"]
    assert (row["judge"], row["accuracy"]["value"], row["accuracy"]["n"]) == ("gold", 1, 6)
    assert "position_bias" not in row


def test_a_reward_model_judges_as_it_scores(tmp_path: Path, chain: Chain) -> None:
    _, records = Miniature(evaluation_count=6).evaluation(0, Dropped())
    path = tmp_path / "pairs.jsonl"
    pairs = [
        {"prompt": r.prompt, "chosen": r.reference, "rejected": records[i - 1].reference} for i, r in enumerate(records)
    ]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    judge = RewardModelJudge(path=str(chain.reward_model))
    document = judge_agreement(path, [judge, Fake("right", right)])
    plain = [
        Comparison(PromptRecord("p", r.prompt), Completion(str(r.reference)), Completion(str(records[i - 1].reference)))
        for i, r in enumerate(records)
    ]
    expected = [j.outcome for j in judge.judge(plain, Situation())]
    assert [pair["right"][0] for pair in document["pairs"]] == expected
    assert document["judges"][0]["judge"] == f"reward_model/{chain.reward_model.name}"
    assert document["judges"][0]["seconds_per_judgement"] > 0


def test_llmbar_is_read_and_the_first_text_is_drawn(tmp_path: Path) -> None:
    rows = [{"input": f"q{i}", "output_1": f"one {i}", "output_2": f"two {i}", "label": 1 + i % 2} for i in range(200)]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(rows))
    found = read_labelled_pairs(path)
    for comparison, human, row in zip(found.comparisons, found.human, rows, strict=True):
        chosen = comparison.ours if human == 1 else comparison.reference
        assert chosen.text == row[f"output_{row['label']}"]
        assert comparison.record.prompt == row["input"]
    assert 80 < found.human.sum() < 120
    assert np.array_equal(read_labelled_pairs(path).human, found.human)
    assert len({comparison.key for comparison in found.comparisons}) == 200
    assert len(read_labelled_pairs(path, 7).comparisons) == 7


def test_a_limit_does_not_change_how_a_pair_is_asked(pairs: Path) -> None:
    assert read_labelled_pairs(pairs, 2).comparisons == read_labelled_pairs(pairs).comparisons[:2]


def test_texts_are_compared_without_the_joint(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "Capital:", "chosen": " Paris", "rejected": " Rome!"}))
    found = read_labelled_pairs(path)
    (comparison,) = found.comparisons
    assert {comparison.ours.text, comparison.reference.text} == {"Paris", "Rome!"}
    assert found.prompt_style == "raw"
    assert abs(found.longer_by[0]) == 0


def test_chat_messages_reach_the_judge(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hello?"}]
    answers = {name: [*turns, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(answers))
    found = read_labelled_pairs(path)
    assert found.prompt_style == "chat_template"
    assert found.comparisons[0].record.meta["messages"] == turns


def test_unlabelled_completions_and_rankings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "p", "completion": "c"}))
    with pytest.raises(UserError, match=r"pairs\.jsonl:1: no label; every record needs two completions"):
        read_labelled_pairs(path)
    path.write_text(json.dumps({"prompt": "p", "responses": ["a", "b", "c"], "scores": [3, 2, 1]}))
    with pytest.raises(UserError, match=r"pairs\.jsonl:1: 3 ranked completions"):
        read_labelled_pairs(path)
    path.write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "a"}))
    with pytest.raises(UserError, match="chosen and rejected are identical"):
        read_labelled_pairs(path)
    with pytest.raises(UserError, match="no such file"):
        read_labelled_pairs(tmp_path / "none.json")


def test_what_was_left_out_is_counted(pairs: Path) -> None:
    with pairs.open("a") as file:
        file.write(json.dumps({"prompt": "5", "chosen": "same", "rejected": "same"}) + "\n")
    document = judge_agreement(pairs, [Fake("right", right)])
    assert (document["n"], document["left_out"]) == (4, {"chosen and rejected are identical": 1})


def test_equal_judges_are_refused_before_any_is_asked(pairs: Path) -> None:
    def never(first: str, second: str) -> str:
        raise AssertionError("asked")

    with pytest.raises(UserError, match="twin is named 2 times .the same judge twice."):
        judge_agreement(pairs, [Fake("twin", never), Fake("twin", never)])
    with pytest.raises(UserError, match="of one name with different settings"):
        refuse_equals([Identity("twin", "a"), Identity("twin", "b"), Identity("other", "c")])


def test_the_document_is_written(pairs: Path, tmp_path: Path) -> None:
    document = judge_agreement(pairs, [Fake("right", right)], out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / FILE).read_text()) == document
    with pytest.raises(UserError, match="is a file; name a folder"):
        judge_agreement(pairs, [], out=pairs)


def test_no_valid_judgement_leaves_absent_values(pairs: Path) -> None:
    read = read_labelled_pairs(pairs)
    mute = ask(Fake("mute", lambda first, second: "invalid"), read, Situation())
    (row,) = compare(read, [mute])["judges"]
    assert (row["n"], row["invalid"]) == (0, 4)
    assert "accuracy" not in row
    json.dumps(row, allow_nan=False)
