"""A completion's ids after the end of a prompt are those after the whole prompt, whatever the texts."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from overopt.models.contexts import word_end
from overopt.models.text import Codec
from overopt.types import Completion, PromptRecord

LLAMA = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITTERS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "digits": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}
PIECES = ["the cat", " sat", "\n", "\n\n", " ", "  ", "'s", "!'s", "...", ".\n", "x1", "42", "TL;DR:", "é", "e\u0301",
          "\u0301", "中文", "🙂", "<|end", "oftext|>", "<|endoftext|>", "don't", "\t", "\u00a0", "ing"]  # fmt: skip


def tokenizer(splitter: Any, normalizer: Any = None) -> Any:
    """A byte-level BPE of 600 tokens with an end token and runs of spaces, as that of Pythia has them."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = splitter, decoders.ByteLevel()
    if normalizer is not None:
        made.normalizer = normalizer
    rng = random.Random(0)
    corpus = ["".join(rng.choices(PIECES, k=40)) for _ in range(80)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    made.add_special_tokens([AddedToken("<|endoftext|>")])
    made.add_tokens([AddedToken("   "), AddedToken("  ")])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>")


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_the_ids_are_those_after_the_whole_prompt(splitter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = tokenizer(SPLITTERS[splitter], normalizers.NFC())
    rng = random.Random(1)
    records, completions = [], []
    for n in range(300):
        records.append(PromptRecord(str(n), "".join(rng.choices(PIECES, k=rng.randint(1, 40))) + "."))
        completions.append([Completion("".join(rng.choices(PIECES, k=rng.randint(1, 6)))) for _ in range(2)])
    cut = word_end(fast)
    assert sum(len(cut(record.prompt)) < len(record.prompt) for record in records) > 50
    found = list(Codec(fast, "raw").encode(records, completions))
    monkeypatch.setattr("overopt.models.text.word_end", lambda fast: lambda prompt: prompt)
    assert found == list(Codec(fast, "raw").encode(records, completions))


def test_posts_share_their_end() -> None:
    cut = word_end(tokenizer(SPLITTERS["gpt2"]))
    assert cut(70 * "the cat " + "sat.\n\nTL;DR:") == "\n\nTL;DR:"
    assert cut(70 * "the cat ") == 70 * "the cat "  # ends in what may become a run of spaces
    assert cut(70 * "the cat " + "<|endof") == 70 * "the cat " + "<|endof"
    assert cut("short post.\n\nTL;DR:") == "short post.\n\nTL;DR:"
    assert cut(70 * "a" + "e\u0301 b") == 70 * "a" + "e\u0301 b"  # NFC changes it


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"normalizer": {"type": "Lowercase"}},
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": r"(?<=\d)\w+"},
                "behavior": "Isolated",
                "invert": False,
            }
        },
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Removed", "invert": False}},
    ],
)
def test_other_tokenizers_see_the_whole_prompt(change: dict[str, Any]) -> None:
    described = json.loads(tokenizer(SPLITTERS["gpt2"]).backend_tokenizer.to_str()) | change
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(described)))
    prompt = 70 * "the cat " + "sat.\n\nTL;DR:"
    assert word_end(other)(prompt) == prompt
    assert word_end(object())(prompt) == prompt
