"""Tiny tokenizers, built as those of well-known models are, and faithful short forms of their chat templates."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from overopt.models.text import Codec
from overopt.types import PromptRecord

TEXT = [
    "the cat sat on the mat . the dog ran over the hill . a short answer and a long answer to the question",
    "Paris is the capital of France , and def f ( a , b ) : return a + b is some code",
    "Capital of France ? Question : what is the sum of two and three ? Answer : it is five .\n\n\n",
] * 5
BYTES = [f"<0x{i:02X}>" for i in range(256)]
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 and Qwen cut text into words."""


def _wrapped(tokenizer: Tokenizer, bos: str | None, ends: tuple[str, str] | None = None, **names: Any) -> Any:
    front, back = (f"{bos} " if bos else ""), ""
    if ends:
        front, back = f"{ends[0]} ", f" {ends[1]}"
    specials = [name for name in (bos, *(ends or ())) if name]
    if specials:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{front}$A{back}", special_tokens=[(name, tokenizer.token_to_id(name)) for name in specials]
        )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **({"bos_token": bos} if bos else {}), **names)
    return wrapped


def byte_level(
    bos: str | None = None, specials: tuple[str, ...] = (), pattern: str | None = None, eos: str = "<eos>"
) -> Any:
    """GPT-2, Pythia, SmolLM2; with GPT-4's pattern Llama 3 and Qwen."""
    tokenizer = Tokenizer(models.BPE())
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    cut = pre_tokenizers.Split(Regex(pattern), "isolated") if pattern else None
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, whole]) if cut else whole
    tokenizer.decoder = decoders.ByteLevel()
    names = list(dict.fromkeys(["<pad>", eos, *([bos] if bos else []), *specials]))
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return _wrapped(tokenizer, bos, eos_token=eos, pad_token="<pad>")


def sentencepiece(
    bos: str | None = None,
    specials: tuple[str | AddedToken, ...] = (),
    eos: str = "</s>",
    prefix: str = "normalizer",
) -> Any:
    """BPE of SentencePiece, as in Llama 2, Phi-3 and Gemma.

    `prefix`, what puts a space before every text: the normalizer, the pre-tokenizer (`always`, or `first`: before the
    first piece only), or `none`.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    pieces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
        pieces.append(decoders.Strip(" ", 1, 0))
    elif prefix == "none":
        tokenizer.normalizer = replace
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=prefix, split=False)
        pieces.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(pieces)
    names = ["<unk>", eos, *([bos] if bos else [])]
    trainer = trainers.BpeTrainer(vocab_size=400 + 256, special_tokens=[*names, *BYTES], show_progress=False)
    words = [word for line in TEXT for word in line.split()]
    if prefix == "none":  # its normalizer puts no space before a word: train on words that have it
        words = [f" {word}" for word in words]
    tokenizer.train_from_iterator(words, trainer)
    plain = json.loads(tokenizer.to_str()) | {"added_tokens": []}  # the trainer makes all these special, bytes too
    tokenizer = Tokenizer.from_str(json.dumps(plain))
    tokenizer.add_special_tokens(
        [AddedToken(s, special=True) if isinstance(s, str) else s for s in (*names, *specials)]
    )
    return _wrapped(tokenizer, bos, eos_token=eos, unk_token="<unk>")


def unigram(bos: str | None = None, specials: tuple[str, ...] = (), prefix: str = "always") -> Any:
    """Unigram of SentencePiece, as in T5 and XGLM, which also joins several spaces into one."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=prefix)
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme=prefix)
    names = ["<unk>", "</s>", *([bos] if bos else []), *specials]
    alphabet = [chr(i) for i in range(33, 127)] + ["\n", "\t"]
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=names, unk_token="<unk>", initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return _wrapped(tokenizer, bos, eos_token="</s>", unk_token="<unk>")


def wordpiece(bos: bool = False) -> Any:
    """BERT's, with or without its [CLS] and [SEP]: white space is no part of its tokens."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[UNK]", "[PAD]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    ends = ("[CLS]", "[SEP]") if bos else None
    return _wrapped(tokenizer, None, ends, eos_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]")


def _of(make: Callable[[], Any], template: str | None = None) -> Callable[[], Any]:
    """Trains once, and gives copies."""

    @cache
    def made() -> Any:
        tokenizer = make()
        tokenizer.chat_template = template
        return tokenizer

    return lambda: copy.deepcopy(made())


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] + '<|eot_id|>' %}{% if loop.first %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content']"
    " + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + '[/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
PLAIN = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)

PHI_TOKENS = tuple(AddedToken(f"<|{n}|>", rstrip=True, special=True) for n in ("assistant", "user", "system", "end"))
LAYOUTS: dict[str, Callable[[], Any]] = {
    "Llama 2": _of(lambda: sentencepiece("<s>"), LLAMA2),
    "Llama 3": _of(
        lambda: byte_level(
            "<|begin_of_text|>",
            ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            GPT4,
            "<|end_of_text|>",
        ),
        LLAMA3,
    ),
    "Gemma": _of(
        lambda: sentencepiece("<bos>", ("<start_of_turn>", "<end_of_turn>"), eos="<eos>", prefix="none"), GEMMA
    ),
    "Phi-3": _of(lambda: sentencepiece("<s>", PHI_TOKENS, eos="<|endoftext|>"), PHI3),
    "Qwen": _of(lambda: byte_level(None, ("<|im_start|>", "<|im_end|>"), GPT4, "<|endoftext|>"), CHATML),
    "Mistral": _of(lambda: sentencepiece("<s>", ("[INST]", "[/INST]")), MISTRAL),
    "Pythia": _of(lambda: byte_level(None, (), None, "<|endoftext|>"), PLAIN),
    "SmolLM2": _of(lambda: byte_level(None, ("<|im_start|>", "<|im_end|>"), None, "<|im_end|>"), CHATML),
}
"""Tokenizer and chat template of well-known models."""

FAMILIES: dict[str, Callable[[], Any]] = {
    name: _of(make)
    for name, make in {
        "byte-level BPE": byte_level,
        "byte-level BPE, BOS": lambda: byte_level("<bos>"),
        "SentencePiece BPE, normalizer": sentencepiece,
        "SentencePiece BPE, normalizer, BOS": lambda: sentencepiece("<s>"),
        "SentencePiece BPE, Metaspace": lambda: sentencepiece(prefix="always"),
        "SentencePiece BPE, Metaspace first, BOS": lambda: sentencepiece("<s>", prefix="first"),
        "Unigram": unigram,
        "Unigram, BOS": lambda: unigram("<s>"),
        "WordPiece": wordpiece,
        "WordPiece, BOS": lambda: wordpiece(bos=True),
    }.items()
}
"""Kinds of tokenizers, with and without what they put before every text."""


def chat(name: str, template: str | None = None) -> Codec:
    tokenizer = LAYOUTS[name]()
    tokenizer.chat_template = template or tokenizer.chat_template
    return Codec(tokenizer, "chat_template")


def asked(*contents: Any, place: str = "", **meta: Any) -> PromptRecord:
    """A conversation that a user begins; contents are texts or whole messages."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": c} if isinstance(c, str) else c for i, c in enumerate(contents)]
    return PromptRecord("0", "as text", meta={"messages": messages, **meta}, place=place)
