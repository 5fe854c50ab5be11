from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

from overopt.errors import UserError
from overopt.models.properties import (
    LogitMap,
    attention_window,
    check_positions,
    intended_length,
    is_recurrent,
    max_positions,
    position_table_size,
)

SIZES: dict[str, Any] = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def model(architecture: str, **extra: Any) -> Any:
    config = AutoConfig.for_model(architecture, **(SIZES | extra))
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def test_logits_by_hand() -> None:
    z = torch.tensor([-2.0, 0.0, 4.0])
    assert LogitMap()(z) is z
    assert LogitMap(scale=0.5)(z).tolist() == [-1.0, 0.0, 2.0]
    expected = [3.0 * math.tanh(2.0 * x / 3.0) for x in (-2.0, 0.0, 4.0)]
    assert LogitMap(scale=2.0, cap=3.0)(z).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("architecture", "fields", "expected"),
    [
        ("llama", {}, LogitMap()),
        ("cohere", {"logit_scale": 0.25}, LogitMap(0.25)),
        ("granite", {"logits_scaling": 8.0}, LogitMap(0.125)),
        ("hyperclovax", {"logits_scaling": 8.0}, LogitMap(8.0)),
        ("falcon_h1", {"lm_head_multiplier": 0.5}, LogitMap(0.5)),
        ("gemma2", {"final_logit_softcapping": 30.0}, LogitMap(1.0, 30.0)),
        ("recurrent_gemma", {"logits_soft_cap": 20.0}, LogitMap(1.0, 20.0)),
        ("gemma3_text", {"final_logit_softcapping": None}, LogitMap()),
    ],
)
def test_logits_are_read_from_the_configuration(architecture: str, fields: dict[str, Any], expected: LogitMap) -> None:
    known = AutoConfig.for_model if architecture in CONFIG_MAPPING else SimpleNamespace  # HyperCLOVA X came late
    assert LogitMap.of(known(model_type=architecture, **fields)) == expected


def test_windows() -> None:
    assert attention_window(SimpleNamespace(sliding_window=8, attention_chunk_size=4)) == 4
    assert attention_window(SimpleNamespace(sliding_window=8, use_sliding_window=False)) is None
    assert attention_window(SimpleNamespace(sliding_window=None)) is None


@pytest.mark.parametrize(
    ("architecture", "extra", "recurrent"),
    [
        ("llama", {}, False),
        ("mamba", {}, True),
        ("lfm2", {"num_key_value_heads": 1, "layer_types": ["conv"]}, True),
        ("gemma3_text", {"num_key_value_heads": 1, "layer_types": ["sliding_attention"]}, False),
    ],
)
def test_recurrent_layers(architecture: str, extra: dict[str, Any], recurrent: bool) -> None:
    assert is_recurrent(model(architecture, **extra)) is recurrent


@pytest.mark.parametrize(
    ("architecture", "extra", "table"),
    [
        ("gpt2", {"n_positions": 24}, 24),
        ("opt", {"max_position_embeddings": 24, "ffn_dim": 32, "word_embed_proj_dim": 16}, 24),
        ("gpt_neo", {"max_position_embeddings": 24, "num_layers": 1, "attention_types": [[["global"], 1]]}, 24),
        ("gpt_bigcode", {"n_positions": 24}, 24),
        ("openai-gpt", {"n_positions": 24}, 24),
        ("llama", {"max_position_embeddings": 24}, None),
        ("bloom", {"max_position_embeddings": 24}, None),
        ("mamba", {}, None),
    ],
)
def test_tables_of_positions(architecture: str, extra: dict[str, Any], table: int | None) -> None:
    made = model(architecture, **extra)
    assert position_table_size(made) == max_positions(made) == table
    check_positions(made, 10, 14, "m")
    if table:
        with pytest.raises(
            UserError, match=r"max_prompt_tokens \(10\) \+ max_completion_tokens \(15\) = 25 .* the 24 pos"
        ):
            check_positions(made, 10, 15, "m")
        with pytest.raises((IndexError, RuntimeError)):  # the table ends where we say, and no earlier
            run(architecture, extra, 25)
        run(architecture, extra, 24)


def run(architecture: str, extra: dict[str, Any], tokens: int) -> None:
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **(SIZES | extra)))
    made(input_ids=torch.ones(1, tokens, dtype=torch.long))


LONG_FIELD = "original_max_position_embeddings"
LONG = {"rope_type": "longrope", "long_factor": [4.0] * 4, "short_factor": [1.0] * 4, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("rope", "switch"),
    [
        (LONG | {"original_max_position_embeddings": 32}, 32),
        ({"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}, 64),
        ({"full_attention": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, 64),
        ({"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 32}, None),
        ({"rope_type": "default", "rope_theta": 1e4}, None),
    ],
)
def test_angles_that_depend_on_the_length(rope: dict[str, Any], switch: int | None) -> None:
    config = SimpleNamespace(model_type="m", max_position_embeddings=64, rope_parameters=rope)
    made = SimpleNamespace(config=config)
    check_positions(made, switch or 1000, 0, "m")
    assert max_positions(made) == switch
    if switch:
        with pytest.raises(UserError, match=f"go beyond {switch}, from where the rotary embedding of this m model"):
            check_positions(made, switch, 1, "m")


@pytest.mark.parametrize(
    ("architecture", "fields", "longest"),
    [
        ("llama", {"max_position_embeddings": 24}, 24),  # it computes longer texts, but was not trained on them
        ("gpt2", {"n_positions": 24}, 24),
        ("mamba", {}, None),
    ],
)
def test_the_length_that_a_model_was_made_for(architecture: str, fields: dict[str, Any], longest: int | None) -> None:
    assert intended_length(model(architecture, **fields)) == longest


def test_the_length_before_the_angles_change() -> None:
    config = SimpleNamespace(model_type="m", max_position_embeddings=64, rope_parameters=LONG | {LONG_FIELD: 32})
    assert intended_length(SimpleNamespace(config=config)) == 32
