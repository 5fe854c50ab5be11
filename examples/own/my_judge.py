"""Your own judge: of two completions, the one that takes more of its words from the prompt wins.

`overopt evaluate out/online --judge examples/own/my_judge.py:Extractive`, or with a field of its own
`overopt evaluate out/online --judge "{name: examples/own/my_judge.py:Extractive, margin: 0.1}"`
"""

from __future__ import annotations

from collections.abc import Sequence

from overopt.config import NonNegative, block
from overopt.evaluation.judges import Comparison, Judgement, Situation


@block
class Extractive:
    """Faithful wording as a stand-in for a faithful summary."""

    margin: NonNegative = 0.0
    """Shares that differ by no more than this are a tie."""

    def judge(self, comparisons: Sequence[Comparison], situation: Situation) -> list[Judgement]:
        return [Judgement(self.outcome(c)) for c in comparisons]

    def outcome(self, comparison: Comparison) -> float:
        post = comparison.record.prompt
        lead = share(comparison.ours.text, post) - share(comparison.reference.text, post)
        return 0.5 if abs(lead) <= self.margin else float(lead > 0)


def share(text: str, post: str) -> float:
    """Return the share of a text's words that the post holds; 0 for no words."""
    words = text.split()
    return sum(word in post.split() for word in words) / max(1, len(words))
