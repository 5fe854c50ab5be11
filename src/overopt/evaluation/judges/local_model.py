"""Asks a language model in a local Hugging Face folder, through our own engine.

- A question becomes a chat in the tokenizer's template; without one, its messages one after another, as raw text.
- By log-probabilities, the answer is the most probable of the allowed replies, all their tokens summed. The model
  continues its own turn, which begins with the answer's prefix (`Preferred:`). White space at the prefix's end is
  encoded with the reply, as the model would write it: " A" is one token, and after a token " " few models write "A".
  The prompt is computed once for all replies. Of equally probable replies the first is taken.
- As text, the model writes greedily until it ends its turn or reaches the question's limit.
- What is judged cannot end its turn or begin another: the names of the tokenizer's special tokens are broken up in it.
  A template that marks turns by ordinary words gives no such protection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from overopt.engine.compute import Compute
from overopt.engine.head import logps_of_trees
from overopt.engine.memory import TokenBudget
from overopt.engine.packing import Tree, row_ranges
from overopt.engine.sampler import DrawKey, sample_in_batches
from overopt.errors import UserError
from overopt.evaluation.judges.asking import utc_now
from overopt.evaluation.judges.base import Answer, Question, encodable
from overopt.models.load import load_policy
from overopt.models.policy import Policy
from overopt.models.properties import intended_length
from overopt.models.text import Codec
from overopt.models.verify import check_limits
from overopt.tasks.base import Message
from overopt.types import Completion, PromptRecord

AnswerBy = Literal["logprobs", "text"]

DATE = datetime(2025, 1, 1)
"""What a chat template that asks for the date is told, so that a pair is asked in the same words on every day."""
GREEDY = DrawKey(0, "judge", 0)


@dataclass(frozen=True)
class LocalModel:
    """A policy that answers questions."""

    policy: Policy
    codec: Codec
    answer: AnswerBy
    budget: TokenBudget

    @classmethod
    def load(cls, folder: Path, answer: AnswerBy, compute: Compute) -> LocalModel:
        """Return the model of a Hugging Face folder. UserError: it cannot be loaded."""
        policy = load_policy(folder, compute.resolve(), compute.bf16)
        policy.freeze()
        codec = Codec.of(policy, "chat_template" if policy.tokenizer.chat_template else "raw", DATE)
        return cls(policy, codec, answer, TokenBudget(compute.budget))

    def tree(self, question: Question) -> Tree:
        """Return the ids of a question and of its allowed replies; as text, of the question alone.

        UserError: the question names no replies to choose from.
        """
        if self.answer == "text":
            return Tree(self.codec.prompt(self._record(question, "")), [])
        if not question.allowed:
            raise UserError("answer: logprobs needs a prompt that names its possible replies; use answer: text")
        prefix = question.answer_prefix.rstrip()
        space = question.answer_prefix[len(prefix) :]
        replies = [Completion(space + reply, ended=False) for reply in question.allowed]
        return Tree(*next(self.codec.encode([self._record(question, prefix)], [replies])))

    @cached_property
    def limit(self) -> int | None:
        """Tokens of the longest text that the model was made for; None if its configuration does not say."""
        return intended_length(self.policy.model)

    def answers(self, questions: Sequence[Question]) -> list[Answer | None]:
        """Return an answer for each question, in order; None: with the longest reply it would exceed the `limit`."""
        if not questions:
            return []
        trees = [self.tree(question) for question in questions]
        reply = max(map(self._longest_reply, questions, trees))
        fits = [self.limit is None or len(tree.prompt) + reply <= self.limit for tree in trees]
        asked = [pair for pair, fit in zip(zip(questions, trees, strict=True), fits, strict=True) if fit]
        found = iter(self._ask(asked, reply) if asked else ())
        return [next(found) if fit else None for fit in fits]

    def _longest_reply(self, question: Question, tree: Tree) -> int:
        return max(map(len, tree.completions)) if tree.completions else question.max_tokens

    def _ask(self, asked: Sequence[tuple[Question, Tree]], reply: int) -> list[Answer]:
        """Return the answers to questions of which none is too long for a reply of so many tokens."""
        trees = [tree for _, tree in asked]
        check_limits(self.policy, max(len(tree.prompt) for tree in trees), reply)
        answered = self._most_probable if self.answer == "logprobs" else self._written
        said = answered([question for question, _ in asked], trees)
        now = utc_now()
        return [Answer(text, now, len(tree.prompt), tokens) for tree, (text, tokens) in zip(trees, said, strict=True)]

    def _most_probable(self, questions: Sequence[Question], trees: Sequence[Tree]) -> list[tuple[str, int]]:
        """Return each question's most probable reply after its prefix, and the reply's tokens."""
        logps = self.budget.without_gradient(lambda tokens: logps_of_trees(self.policy, trees, 1.0, tokens))
        total_B = logps.logp_BT.sum(1)
        if not bool(torch.isfinite(total_B).all()):
            raise UserError(f"{self.policy.name}: a reply's log-probability is not finite; are its weights damaged?")
        found = []
        for question, tree, rows in zip(questions, trees, row_ranges(trees), strict=True):
            best = int(total_B[rows.start : rows.stop].argmax())
            found.append((question.answer_prefix + question.allowed[best], len(tree.completions[best])))
        return found

    def _written(self, questions: Sequence[Question], trees: Sequence[Tree]) -> list[tuple[str, int]]:
        """Return what the model writes to each question, and how many tokens that is."""
        prompts, ids = [tree.prompt for tree in trees], [str(i) for i in range(len(trees))]
        longest = max(question.max_tokens for question in questions)
        samples = self.budget.without_gradient(
            lambda tokens: sample_in_batches(self.policy, prompts, ids, 1, 0.0, longest, GREEDY, tokens)
        )
        rows = [row[: question.max_tokens] for row, question in zip(samples.completions(), questions, strict=True)]
        return [(self.codec.decode(row).text, len(row)) for row in rows]

    # --- A question as a record of our own kind

    def _record(self, question: Question, begun: str) -> PromptRecord:
        """Return a question as a prompt; the model's turn has begun with the text `begun`, if there is any."""
        messages: list[Message] = [{"role": r, "content": self._harmless(text)} for r, text in question.messages]
        if self.codec.prompt_style == "raw":
            text = "\n\n".join([*(message["content"] for message in messages), begun])
            return PromptRecord("question", text)
        messages = messages if self._takes_system else _without_system(messages)
        if begun:
            messages.append({"role": "assistant", "content": begun})
        return PromptRecord("question", "", meta={"messages": messages})

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the chat template has a place for a system message; some refuse it, some leave it out."""
        user = {"role": "user", "content": "x"}
        try:
            ids = self.codec.prompt(PromptRecord("", "", meta={"messages": [_system("zqx"), user]}))
        except UserError:
            return False
        return "zqx" in self.codec.tokenizer.decode(ids)

    def _harmless(self, text: str) -> str:
        """Return a text in which no special token's name is whole: a space stands after its first character."""
        text = encodable(text)  # no tokenizer reads half of a surrogate pair
        for name in self._special_names:
            text = text.replace(name, f"{name[:1]} {name[1:]}")
        return text

    @cached_property
    def _special_names(self) -> list[str]:
        tokenizer: Any = self.codec.tokenizer
        names = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        return sorted({name for name in names | set(tokenizer.all_special_tokens) if len(name.strip()) > 1})


def _system(text: str) -> Message:
    return {"role": "system", "content": text}


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Return messages with the text of system messages at the head of the next one."""
    found: list[Message] = []
    waiting = ""
    for message in messages:
        if message["role"] == "system":
            waiting += message["content"] + "\n\n"
        else:
            found.append({**message, "content": waiting + message["content"]})
            waiting = ""
    return found
