from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from overopt.errors import UserError
from overopt.models.text import Codec, word_tokenizer
from overopt.tasks import Miniature
from overopt.types import Completion, PromptRecord

WORDS = ["<pad>", "<eos>", "[user]", "[assistant]", "[system]", "good", "day", "sir", "be", "kind"]
TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def codec(template: str | None = None) -> Codec:
    tokenizer = word_tokenizer(WORDS)
    tokenizer.chat_template = template
    return Codec(tokenizer, "raw" if template is None else "chat_template")


def test_raw_takes_the_prompt_as_it_is() -> None:
    assert codec().prompt(PromptRecord("a", "good day")) == [5, 6]


def test_chat_template_makes_the_prompt_a_turn() -> None:
    assert codec(TEMPLATE).prompt(PromptRecord("a", "good day")) == [2, 5, 6, 3]


def test_chat_template_takes_stored_messages() -> None:
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "good day"}]
    record = PromptRecord("a", "as text", meta={"messages": messages})
    assert codec(TEMPLATE).prompt(record) == [4, 8, 9, 2, 5, 6, 3]
    assert codec().prompt(PromptRecord("a", "sir", meta={"messages": messages})) == [7]


def test_a_tokenizer_without_template_is_refused() -> None:
    with pytest.raises(UserError, match="prompt_style.*no chat template; use prompt_style: raw"):
        Codec(word_tokenizer(WORDS), "chat_template")


def test_eos_stands_where_the_completion_ended() -> None:
    assert codec().completion(Completion("good sir")) == [5, 7, 1]
    assert codec().completion(Completion("good sir", ended=False)) == [5, 7]
    assert codec().completion(Completion("")) == [1]
    assert codec().completion(Completion("", ended=False)) == []


def test_decoding_inverts_encoding() -> None:
    for completion in (Completion("good sir"), Completion("day", ended=False), Completion(""), Completion("", False)):
        assert codec().decode(codec().completion(completion)) == completion


def test_a_word_tokenizer_survives_saving(tmp_path: Path) -> None:
    words = Miniature().vocabulary()
    assert words is not None
    tokenizer = word_tokenizer(words)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    record = Miniature().prompts(0, dropped=None)[0]  # type: ignore[arg-type]
    ids = Codec(tokenizer, "raw").prompt(record)
    assert [words[i] for i in ids] == record.prompt.split()
    assert Codec(loaded, "raw").prompt(record) == ids
    assert (loaded.pad_token_id, loaded.eos_token_id) == (0, 1)
    assert tokenizer.encode("no-such-word", add_special_tokens=False) == [0]
