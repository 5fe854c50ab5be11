"""Small models with random weights, in the file layouts of public ones on the Hub, and the real tokenizer of Pythia.

Beside the safetensors lie the pickles that the originals have, too. They are poison: nothing may fetch or open them.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
)

HERE = Path(__file__).parent
POISON = b"cos\nsystem\n(S'false'\ntR."
"""A pickle that would run a command when loaded."""


@cache
def pythia_tokenizer() -> str:
    """The text of Pythia's own tokenizer.json."""
    return gzip.decompress((HERE / "pythia_tokenizer" / "tokenizer.json.gz").read_bytes()).decode()


def pythia(folder: Path, vocabulary: int = 50_304, shards: bool = False, seed: int = 0) -> None:
    """As `EleutherAI/pythia-1b-deduped`: GPT-NeoX in half precision, whose matrix has more rows than the tokenizer."""
    config = AutoConfig.for_model(
        "gpt_neox", vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=2048, rotary_pct=0.25, hidden_act="gelu",
        use_parallel_residual=True, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    _model(folder, config, torch.float16, seed, shards)
    (folder / "tokenizer.json").write_text(pythia_tokenizer(), encoding="utf-8")
    end = "<|endoftext|>"
    named = {"bos_token": end, "eos_token": end, "unk_token": end}
    _json(folder / "tokenizer_config.json", named | {"add_prefix_space": False, "tokenizer_class": "GPTNeoXTokenizer"})
    _json(folder / "special_tokens_map.json", named)
    (folder / "pytorch_model.bin").write_bytes(POISON)


LLAMA_SPECIAL = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
)  # fmt: skip
LLAMA_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
"""Turns as Llama 3 writes them, in words of our own."""


def llama(folder: Path, corpus: list[str], seed: int = 0) -> None:
    """As `meta-llama/Llama-3.2-1B-Instruct`: grouped queries, tied embeddings, scaled rotary angles, bfloat16."""
    tokenizer = _llama_tokenizer(corpus)
    end, turn = (tokenizer.convert_tokens_to_ids(name) for name in ("<|end_of_text|>", "<|eot_id|>"))
    scaling = {
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3", "rope_theta": 500_000.0,
    }  # fmt: skip
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, max_position_embeddings=131_072, tie_word_embeddings=True,
        initializer_range=0.3, rope_parameters=scaling, bos_token_id=tokenizer.bos_token_id, eos_token_id=[end, turn],
    )  # fmt: skip
    _model(folder, config, torch.bfloat16, seed)
    tokenizer.save_pretrained(folder)
    _json(folder / "generation_config.json", {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": [end, turn]})
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.00.pth").write_bytes(POISON)


def _llama_tokenizer(corpus: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the corpus with the special tokens of Llama 3, which puts the BOS before each text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024, special_tokens=list(LLAMA_SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(corpus, trainer)
    start = LLAMA_SPECIAL[0]
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A {start}:1 $B:1", special_tokens=[(start, made.token_to_id(start))]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=start, eos_token="<|eot_id|>")
    tokenizer.chat_template = LLAMA_TEMPLATE
    return tokenizer


def linked(folder: Path, real: Path) -> None:
    """A repository whose files are those of a real model's folder."""
    folder.mkdir(parents=True)
    for path in real.iterdir():
        if path.suffix in (".json", ".jinja", ".safetensors") and path.name != "gguf.json":
            (folder / path.name).symlink_to(path.resolve())


def _model(folder: Path, config: Any, dtype: torch.dtype, seed: int, shards: bool = False) -> None:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    model.save_pretrained(folder, max_shard_size="4MB" if shards else "5GB")


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
