"""Models of two houses: a policy, and a reward model with a tokenizer and a chat template of its own."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

TEXT = "please write a short long poem about rain and the sea cat dog sat ran over hill mat good bad"
WORDS = TEXT.split()
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BRACKETS = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[Q] ' + m['content'] + ' [A]' }}"
    "{% else %}{{ m['content'] + '<end>' + '\n--' }}{% endif %}{% endfor %}"
)


def bpe(
    size: int, template: str | None, specials: tuple[str, ...], eos: str, pad: str | None, bos_token: str | None = None
) -> Any:
    """A byte-level BPE trained on a few words; with a BOS it puts that before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, **({"pad_token": pad} if pad else {}))
    fast.chat_template = template
    if bos_token is not None:
        fast.bos_token = bos_token
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos_token} $A", special_tokens=[(bos_token, fast.bos_token_id)]
        )
        fast.backend_tokenizer.post_processor = tokenizer.post_processor
    return fast


def policys(**changes: Any) -> Any:
    """The policy's tokenizer."""
    specials = ("<pad>", "<eos>", "<|im_start|>", "<|im_end|>")
    return bpe(**{"size": 330, "template": CHATML, "specials": specials, "eos": "<|im_end|>", "pad": "<pad>"} | changes)


def reward_models(**changes: Any) -> Any:
    """The reward model's: other ids, other special tokens, another template, and no padding of its own."""
    return bpe(**{"size": 300, "template": BRACKETS, "specials": ("<end>",), "eos": "<end>", "pad": None} | changes)


PIECES = [
    "naïve café",
    "nai\u0308ve cafe\u0301",
    "ﬁne ½ Ⅷ \uff21\uff22\uff23",
    "猫は海を見る",
    "고양이",
    "שלום עולם",
    "مرحبا",
    "กรุงเทพ",
    "नमस्ते",
    "Ελλάδα",
    "Привет, мир",
    "👩\u200d👩\u200d👧\u200d👦",
    "🏳️\u200d🌈",
    "🇫🇷🇯🇵",
    "👍🏽",
    "a\u0300\u0301\u0302",
    "zero\u200bwidth",
    "soft\u00adhyphen",
    "no\u00a0break",
    "line\none\n\ntwo",
    "tab\tstop",
    "\u2003em",
    "…—“quoted”",
    "\U0001d509\U0001d52f",
    "\U00020000\U0002a6d6",
    "x\u202ertl\u202c",
    "cat <end> dog",
    "rain </s> sea",
    "<|im_start|>",
    "100%",
    "",
]
"""Text in many scripts: composed and decomposed, joined emoji, marks without width, white space, spelled tokens."""


def unicode_texts(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choice([*PIECES, *WORDS]) for _ in range(draw.randint(1, 5))) for _ in range(count)]


def sentencepiece_like(**changes: Any) -> Any:
    """A tokenizer as Llama 2's: spaces become ▁, one stands before every text, BOS too; bytes for unknown characters.

    It also normalizes (NFKC), as T5's does.
    """
    specials = ["<unk>", "<s>", "</s>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trained.train_from_iterator(
        [TEXT] * 3, trainers.BpeTrainer(vocab_size=90, special_tokens=specials, show_progress=False)
    )
    known = json.loads(trained.to_str())["model"]
    vocabulary = known["vocab"] | {f"<0x{byte:02X}>": len(known["vocab"]) + byte for byte in range(256)}
    merges = [tuple(pair) for pair in known["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"} | changes
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.chat_template = BRACKETS.replace("<end>", "</s>")
    return fast


def config_of(tokenizer: Any, **changes: Any) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    more = {"num_key_value_heads": 1, "initializer_range": 0.3, "max_position_embeddings": 256}
    return AutoConfig.for_model("llama", **({"vocab_size": len(tokenizer)} | sizes | ids | more | changes))


def save_policy(folder: Path, tokenizer: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_of(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def save_reward_model(folder: Path, tokenizer: Any, seed: int = 1, **changes: Any) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config_of(tokenizer, num_labels=1, **changes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@dataclass(frozen=True)
class Plain:
    """What transformers says of a text, with nothing of ours."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, folder: Path) -> Plain:
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        return cls(model, AutoTokenizer.from_pretrained(folder))

    @torch.no_grad()
    def score(self, text: str) -> float:
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        return float(self.model(ids).logits[0, 0])

    def raw(self, prompt: str, completion: str, ended: bool) -> float:
        """Prompt and completion as one text."""
        return self.score(prompt + (f" {completion}" if completion else "") + self.tokenizer.eos_token * ended)

    def chat(self, prompt: str, completion: str, ended: bool) -> float:
        """As the reward model's template writes the conversation; an answer that was cut, up to there."""
        user = {"role": "user", "content": prompt}
        if ended:
            messages = [user, {"role": "assistant", "content": completion}]
            return self.score(self.tokenizer.apply_chat_template(messages, tokenize=False))
        begun = self.tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
        return self.score(begun + completion)


def texts(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 6))) for _ in range(count)]


def write_pairs(file: Path, count: int = 40) -> Path:
    records = zip(texts(count, 1), texts(count, 2), texts(count, 3), strict=True)
    rows = [{"prompt": f"{p} {i}", "chosen": a, "rejected": b} for i, (p, a, b) in enumerate(records)]
    return tiny.write_jsonl(file, rows)
