"""What a stage may ask of a task, and how a record's text reaches a model.

Completions are stored without the space that joins them to a raw prompt and without the end of the turn. `Joint` and
`models/text.py` add what the prompt style wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from overopt.config import block
from overopt.types import Completion, Dropped, Preference, PromptRecord

PromptStyle = Literal["raw", "chat_template"]
"""`raw`: the prompt's text as it is, behind the tokenizer's own BOS, then the completion, joined by one space where
neither the prompt ends nor the completion begins in white space: "Paris" and " Paris" after "Capital:" are the same,
"    return 1" after "def f():\\n" keeps its four spaces. `chat_template`: the prompt as chat messages through the
tokenizer's own template, then the completion, with all its white space, as the assistant's turn. An assistant's
message at the end of the prompt is continued."""

Message = dict[str, Any]
"""A chat message: `role`, `content`, and what else a template may know."""


@block
class Report:
    """What a report on runs may show: a task's field `report`, which is read from the runs' records."""

    samples: Literal["shown", "hidden"] = "shown"
    """`hidden`: no prompt and no completion, only their statistics; for data whose text must not be passed on."""


@dataclass(frozen=True)
class Joint:
    """What stands between a prompt and its completion, where the completion does not bring it itself.

    White space is brought by a completion that begins in white space; more than that (the empty thoughts that some
    chat templates write before an answer) by one that begins with the same word.
    """

    text: str
    own: bool = False
    """It is the prompt's own last space or the chat template's, and stands there whatever follows."""

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
    """The prompt's text and what joins a completion to it: `joint`, or nothing after white space.

    One space at the prompt's end is the joint itself, since tokenizers keep a space with the word behind it.
    """
    bare = prompt.removesuffix(" ")
    if bare and bare != prompt and not bare[-1].isspace():
        return bare, Joint(" ", own=True)
    return prompt, Joint("" if prompt[-1:].isspace() else joint)


def strip_joint(completion: str, prompt: str, style: PromptStyle) -> str:
    """A completion of a file without what the style puts before it: the one space of " Paris" in the raw style."""
    if style == "chat_template":
        return completion
    joint = prompt_and_joint(prompt)[1].text
    return Joint(joint).remove(completion)


def messages_of(record: PromptRecord | Preference) -> list[Message]:
    """The prompt as chat messages: those the file had, or the whole prompt as one user turn."""
    stored: list[Message] | None = record.meta.get("messages")
    return stored if stored is not None else [{"role": "user", "content": record.prompt}]


class TaskProtocol(Protocol):
    """A task is a frozen config block with these methods. It knows neither torch nor transformers.

    Every list is a function of the task's fields and the run's seed. `dropped` collects what a reader left out;
    it is set, not added to, so that asking twice counts once.
    """

    @property
    def prompt_style(self) -> PromptStyle: ...

    @property
    def has_gold(self) -> bool:
        """Whether `gold` answers: then it judges evaluations, and sampled pairs can be labelled by it."""
        ...

    def vocabulary(self) -> list[str] | None:
        """Words of a word-level tokenizer, `<pad>` and `<eos>` first; None if the model brings its tokenizer."""
        ...

    def demonstrations(self, seed: int, dropped: Dropped) -> list[PromptRecord]:
        """Prompts with references to imitate (SFT)."""
        ...

    def prompts(self, seed: int, dropped: Dropped) -> list[PromptRecord]:
        """Prompts to sample from while training online, each once."""
        ...

    def pair_prompts(self, seed: int, n: int) -> list[PromptRecord]:
        """The n prompts on which the SFT policy samples the pairs that train a reward model."""
        ...

    def reward_test_prompts(self, seed: int) -> list[PromptRecord]:
        """Prompts on which a reward model trained on sampled pairs is tested."""
        ...

    def preferences(self, seed: int, dropped: Dropped) -> list[Preference]:
        """Stored preference pairs or rankings to train on."""
        ...

    def evaluation_preferences(self, seed: int, dropped: Dropped) -> tuple[str, list[Preference]]:
        """The split's name, and stored pairs or rankings that no training saw."""
        ...

    def evaluation(self, seed: int, dropped: Dropped) -> tuple[str, list[PromptRecord]]:
        """The split's name, and the prompts on which every checkpoint is judged."""
        ...

    def gold(self, record: PromptRecord, completion: Completion) -> float | None:
        """The true reward, if the task has one."""
        ...

    def gold_parts(self, record: PromptRecord, completion: Completion) -> dict[str, float]:
        """What the true reward is made of, by name; empty without one."""
        ...


def is_cheap_to_measure(task: TaskProtocol) -> bool:
    """Whether one more forward pass at each step does not matter, so small are the models trained on this task.

    A task says so with a class variable `cheap_to_measure = True`; it need not say anything.
    """
    return bool(getattr(task, "cheap_to_measure", False))
