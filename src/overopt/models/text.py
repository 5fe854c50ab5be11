"""Between text and tokens: prompts and completions are tokenized apart, and every completion that ended carries EOS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from overopt.errors import UserError
from overopt.tasks.base import PromptStyle, messages_of, render_completion
from overopt.types import Completion, Preference, PromptRecord


@dataclass(frozen=True)
class Codec:
    """A tokenizer with a prompt style (see `tasks/base.py`)."""

    tokenizer: Any
    prompt_style: PromptStyle

    def __post_init__(self) -> None:
        if self.prompt_style == "chat_template" and not self.tokenizer.chat_template:
            raise UserError("task.prompt_style: the model's tokenizer has no chat template; use prompt_style: raw")

    def prompt(self, record: PromptRecord | Preference) -> list[int]:
        """The tokens of the prompt, up to where the completion begins."""
        text = record.prompt
        if self.prompt_style == "chat_template":
            text = self.tokenizer.apply_chat_template(messages_of(record), tokenize=False, add_generation_prompt=True)
        return self.tokenizer.encode(text, add_special_tokens=False)

    def completion(self, completion: Completion) -> list[int]:
        """The tokens of the completion, with EOS if it ended."""
        text = render_completion(completion.text, self.prompt_style)
        ids = self.tokenizer.encode(text, add_special_tokens=False) if text else []
        return ids + [self.tokenizer.eos_token_id] * completion.ended

    def decode(self, ids: Sequence[int]) -> Completion:
        """The completion that a row of sampled tokens is, EOS included where it ended."""
        ended = len(ids) > 0 and ids[-1] == self.tokenizer.eos_token_id
        body = ids[:-1] if ended else ids
        return Completion(self.tokenizer.decode(body, clean_up_tokenization_spaces=False).strip(), ended)


def word_tokenizer(vocabulary: Sequence[str]) -> Any:
    """A tokenizer whose tokens are whitespace-separated words; the first two are padding and end of sequence."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pad, eos = vocabulary[:2]
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=pad))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=pad, eos_token=eos, unk_token=pad)
