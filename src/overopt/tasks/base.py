"""What a stage may ask of a task, and how a record's text reaches a model.

Completions are stored without leading spaces and without EOS. `render_completion` adds what the prompt style
wants; EOS is added at tokenization, if the completion ended.
"""

from __future__ import annotations

from typing import Literal, Protocol

from overopt.config import block
from overopt.types import Completion, Dropped, Preference, PromptRecord

PromptStyle = Literal["raw", "chat_template"]
"""`raw`: the prompt's text as it is, then the completion behind one space. `chat_template`: the prompt as chat
messages through the tokenizer's own template, then the completion as the assistant's turn, with no space."""


@block
class Report:
    """What a report on runs may show: a task's field `report`, which is read from the runs' records."""

    samples: Literal["shown", "hidden"] = "shown"
    """`hidden`: no prompt and no completion, only their statistics; for data whose text must not be passed on."""


def render_completion(text: str, style: PromptStyle) -> str:
    """The text to tokenize after the prompt. An empty completion is EOS alone, with no space before it."""
    text = text.lstrip(" ")
    return f" {text}" if text and style == "raw" else text


def messages_of(record: PromptRecord | Preference) -> list[dict[str, str]]:
    """The prompt as chat messages: those the file had, or the whole prompt as one user turn."""
    stored: list[dict[str, str]] | None = record.meta.get("messages")
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
