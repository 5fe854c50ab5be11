"""A task is asked each question once, and what is kept of the answer is enough to plan with."""

from __future__ import annotations

from dataclasses import dataclass, field

from overopt.planning.answers import Answer, Answers
from overopt.types import Completion, Dropped, Preference, PromptRecord, preference


@dataclass
class Counting:
    """A task of 300 prompts, each third with a reference, and of 4 pairs and 5 rankings."""

    name: str = "counting"
    asked: list[str] = field(default_factory=list, repr=False)

    def prompts(self, seed: int, dropped: Dropped) -> list[PromptRecord]:
        self.asked.append(f"prompts {seed}")
        return [PromptRecord(str(i), f"prompt {i}", None if i % 3 else "a reference", {}) for i in range(300)]

    def evaluation(self, seed: int, dropped: Dropped) -> tuple[str, list[PromptRecord]]:
        return "holdout", self.prompts(seed, dropped)[:6]

    def preferences(self, seed: int, dropped: Dropped) -> list[Preference]:
        ranked = [tuple(map(Completion, "abc"[: 2 + (i > 3)])) for i in range(9)]
        return [preference(str(i), "prompt", texts, {}) for i, texts in enumerate(ranked)]


def test_an_answer_keeps_the_count_and_the_first_records() -> None:
    answer = Answers()(Counting(), "prompts", 0)
    assert (answer.count, len(answer.first), len(answer.referenced)) == (300, 256, 100)
    assert [record.prompt_id for record in answer.referenced[:3]] == ["0", "3", "6"]
    heldout = Answers()(Counting(), "evaluation", 0)
    assert (heldout.count, len(heldout.referenced)) == (6, 2)


def test_of_rankings_only_those_of_the_usual_size_are_kept_but_all_are_counted() -> None:
    answer = Answers()(Counting(), "preferences", 0)
    assert (answer.count, answer.size, [r.prompt_id for r in answer.first]) == (9, 3, ["4", "5", "6", "7", "8"])
    assert Answer.of_ranked([]) == Answer(0, [])


def test_an_equal_task_is_not_asked_again() -> None:
    ask, task, equal, other = Answers(), Counting(), Counting(), Counting("other")
    assert ask(task, "prompts", 1) is ask(equal, "prompts", 1)
    ask(task, "prompts", 2)
    ask(other, "prompts", 1)
    assert (task.asked, equal.asked, other.asked) == (["prompts 1", "prompts 2"], [], ["prompts 1"])
