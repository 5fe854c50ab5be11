"""What training and evaluation ask of a task, and how the texts of prompt and completion are joined.

Completions are stored without the space that joins them to a raw prompt and without the end of the turn; `Joint` and
`models/text.py` add these as the prompt style requires.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from overopt.config import block
from overopt.types import Completion, Dropped, Preference, PromptRecord

PromptStyle = Literal["raw", "chat_template"]
"""`raw`: the tokenizer's BOS, the prompt's text as it is, and the completion. One space joins the two unless the prompt
ends or the completion begins in white space: "Paris" and " Paris" after "Capital:" are the same, and "    return 1"
after "def f():\\n" keeps its four spaces. `chat_template`: the prompt as chat messages in the tokenizer's own template,
then the completion, with all its white space, as the assistant's turn. An assistant's message at the end of the prompt
is continued."""

Message = dict[str, Any]
"""A chat message: `role`, `content`, and any other keys that a chat template may use."""


@block
class Report:
    """What a report may show of a run on this task."""

    samples: Literal["shown", "hidden"] = "shown"
    """`hidden`: statistics, but no text of a prompt or completion; for data whose text must not be passed on."""


@dataclass(frozen=True)
class Joint:
    """The text between a prompt and its completion, which is left out where the completion begins with its like.

    A joint of white space is left out before a completion that begins in white space; any other (the empty thoughts
    that some chat templates write before an answer) before a completion that begins with the joint's first word.
    """

    text: str
    own: bool = False
    """It belongs to the prompt or to the chat template, so it is never left out."""

    def join(self, completion: str) -> str:
        """The text to tokenize after the prompt; nothing for an empty completion."""
        word = "".join(self.text.split()[:1])
        brought = completion.startswith(word) if word else completion[:1].isspace()
        return completion if not completion or (brought and not self.own) else self.text + completion

    def remove(self, text: str) -> str:
        """The completion of a text that follows a prompt; inverts `join`."""
        rest = text.removeprefix(self.text)
        brought = not self.own and not self.text.strip() and rest[:1].isspace()
        return text if brought else rest


def prompt_and_joint(prompt: str, joint: str = " ") -> tuple[str, Joint]:
    """The prompt's text, and what joins a completion to it: `joint`, or nothing after white space.

    A single space at the prompt's end becomes the joint, since tokenizers put a space into the token of the next word.
    """
    bare = prompt.removesuffix(" ")
    if bare and bare != prompt and not bare[-1].isspace():
        return bare, Joint(" ", own=True)
    return prompt, Joint("" if prompt[-1:].isspace() else joint)


def strip_joint(completion: str, prompt: str, style: PromptStyle) -> str:
    """A completion as a file holds it, without the joint: in the raw style " Paris" becomes "Paris"."""
    if style == "chat_template":
        return completion
    joint = prompt_and_joint(prompt)[1].text
    return Joint(joint).remove(completion)


def messages_of(record: PromptRecord | Preference) -> list[Message]:
    """The prompt as chat messages: those the file had, or the whole prompt as one user turn."""
    stored: list[Message] | None = record.meta.get("messages")
    return stored if stored is not None else [{"role": "user", "content": record.prompt}]


class TaskProtocol(Protocol):
    """A task is a frozen config block with these methods, without torch or transformers.

    Every sequence depends on the task's fields and the run's seed alone. In `dropped` a task sets how many records it
    left out and why; it sets and does not add, so that calling a method twice counts once.
    """

    cheap_to_measure: bool = False
    """Whether one more forward pass at each step does not matter, so small are the models trained on this task."""

    @property
    @abstractmethod
    def prompt_style(self) -> PromptStyle: ...

    @property
    @abstractmethod
    def has_gold(self) -> bool:
        """Whether `gold` returns numbers; then it judges evaluations and can label sampled pairs."""

    @abstractmethod
    def vocabulary(self) -> list[str] | None:
        """The words of a word-level tokenizer, `<pad>` and `<eos>` first; None where the model has a tokenizer."""

    @abstractmethod
    def demonstrations(self, seed: int, dropped: Dropped) -> Sequence[PromptRecord]:
        """Prompts with reference completions, for SFT."""

    @abstractmethod
    def prompts(self, seed: int, dropped: Dropped) -> Sequence[PromptRecord]:
        """Different prompts, to be sampled from in online training."""

    @abstractmethod
    def pair_prompts(self, seed: int, n: int) -> Sequence[PromptRecord]:
        """n prompts for which the SFT policy samples the pairs that train a reward model."""

    @abstractmethod
    def reward_test_prompts(self, seed: int) -> Sequence[PromptRecord]:
        """Prompts on which a reward model trained on sampled pairs is tested."""

    @abstractmethod
    def preferences(self, seed: int, dropped: Dropped) -> Sequence[Preference]:
        """Preference pairs or rankings to train on."""

    @abstractmethod
    def evaluation_preferences(self, seed: int, dropped: Dropped) -> tuple[str, Sequence[Preference]]:
        """The split's name, and preference pairs or rankings that are not trained on."""

    @abstractmethod
    def evaluation(self, seed: int, dropped: Dropped) -> tuple[str, Sequence[PromptRecord]]:
        """The split's name, and the prompts on which every checkpoint is evaluated."""

    @abstractmethod
    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        """The gold reward; None if the task has none."""
