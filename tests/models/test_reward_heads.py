"""Reward models as their authors write them: each is scored by its author's own definition, then loaded by ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModel

from overopt.engine.packing import Tree
from overopt.errors import UserError
from overopt.models.convert import convert
from overopt.models.load import load_policy, load_reward_model
from overopt.models.reward_heads import read_head
from overopt.models.scorer import Scorer
from overopt.models.text import Codec

CPU = torch.device("cpu")
TREES = [Tree(tree.prompt, [completion]) for tree in tiny.TREES for completion in tree.completions]
ROWS = [[*tree.prompt, *tree.completions[0]] for tree in TREES]


def body_and_head(architecture: str = "gpt_neox", bias: bool = True) -> tuple[Any, nn.Linear]:
    policy = tiny.policy(architecture)
    torch.manual_seed(3)
    body = AutoModel.from_config(policy.model.config).eval()
    head = nn.Linear(16, 1, bias=bias)
    nn.init.normal_(head.weight)
    return body, head


@torch.no_grad()
def read_at_the_end(body: Any, head: nn.Linear) -> torch.Tensor:
    """The head's output at the last token of each text, computed alone."""
    return torch.stack([head(body(torch.tensor([row])).last_hidden_state)[0, -1, 0] for row in ROWS])


def write(folder: Path, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    folder.mkdir(exist_ok=True)
    tiny.policy().tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: value.detach().clone() for name, value in weights.items()}, folder / "model.safetensors")


def prefixed(prefix: str, module: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in module.state_dict().items()}


def recipes_config(body: Any, bias: object) -> dict[str, Any]:
    """As PretrainedConfig writes a configuration that holds another: in full, with two labels."""
    inner = body.config.to_dict() | {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
    return {"architectures": ["ScalarModel"], "base_model": "models/sft", "hidden_size": 16, "bias": bias} | {
        "base_config": inner
    }


def recipes(folder: Path) -> torch.Tensor:
    """ScalarModel of the N+ recipe: reward = scalar_head(hidden_states[-1]) - config.bias."""
    body, head = body_and_head()
    write(folder, recipes_config(body, 0.75), prefixed("lm_backbone.", body) | prefixed("scalar_head.", head))
    return read_at_the_end(body, head) - 0.75


def value_head_among_the_weights(folder: Path) -> torch.Tensor:
    """TRL's AutoModelForCausalLMWithValueHead: the causal model's own names, and v_head.summary."""
    policy = tiny.policy("llama", tie_word_embeddings=False)
    _, head = body_and_head()
    write(folder, policy.model.config.to_dict(), policy.model.state_dict() | prefixed("v_head.summary.", head))
    return read_at_the_end(policy.model.base_model, head)


def value_head_in_a_file_of_its_own(folder: Path) -> torch.Tensor:
    """LLaMA-Factory: an ordinary causal model, and value_head.safetensors."""
    policy = tiny.policy("llama", tie_word_embeddings=True)
    _, head = body_and_head()
    policy.save(folder)
    save_file(prefixed("v_head.summary.", head), folder / "value_head.safetensors")
    return read_at_the_end(policy.model.base_model, head)


def openrlhf(folder: Path) -> torch.Tensor:
    """OpenRLHF with --normalize_reward: (value_head(h) - mean) / std."""
    body, head = body_and_head("llama", bias=False)
    config = body.config.to_dict() | {"normalize_reward": True, "mean": -1.5, "std": 2.0}
    write(folder, config, prefixed("model.", body) | prefixed("value_head.", head))
    return (read_at_the_end(body, head) + 1.5) / 2.0


def open_assistant(folder: Path) -> torch.Tensor:
    """GPTNeoXRewardModel: gpt_neox.*, out_proj, pooling: last."""
    body, head = body_and_head()
    config = body.config.to_dict() | {"model_type": "gpt_neox_reward_model", "pooling": "last"}
    write(folder, config, prefixed("gpt_neox.", body) | prefixed("out_proj.", head))
    return read_at_the_end(body, head)


def score_with_a_bias(folder: Path) -> torch.Tensor:
    body, head = body_and_head("llama")
    write(folder, body.config.to_dict() | {"num_labels": 1}, prefixed("model.", body) | prefixed("score.", head))
    return read_at_the_end(body, head)


AUTHORS = [
    recipes,
    value_head_among_the_weights,
    value_head_in_a_file_of_its_own,
    openrlhf,
    open_assistant,
    score_with_a_bias,
]


@pytest.mark.parametrize("author", AUTHORS, ids=lambda author: author.__name__)
def test_scores_are_what_the_author_computes(author: Callable[[Path], torch.Tensor], tmp_path: Path) -> None:
    expected = author(tmp_path)
    loaded = load_reward_model(tmp_path, CPU)
    scores = loaded.score_trees(TREES, 1000)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    assert float(scores.std()) > 0.1
    assert loaded.foreign and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.normalized is (author in (recipes, openrlhf))


def test_the_recipes_own_checkpoint_is_a_pickle_that_convert_makes_readable(tmp_path: Path) -> None:
    body, head = body_and_head()
    weights = prefixed("lm_backbone.", body) | prefixed("scalar_head.", head)
    old = {"lm_backbone.layers.0.attention.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool).tril()}
    old |= {f"lm_backbone.layers.{i}.attention.masked_bias": torch.tensor(-1e9) for i in (0, 1)}
    old |= {"lm_backbone.layers.0.attention.rotary_emb.inv_freq": torch.ones(2)}
    write(tmp_path / "old", recipes_config(body, -3.25), {})
    (tmp_path / "old" / "model.safetensors").unlink()
    torch.save(weights | old, tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(UserError, match="overopt convert"):
        load_reward_model(tmp_path / "old", CPU)
    assert convert(tmp_path / "old", tmp_path / "new")
    loaded = load_reward_model(tmp_path / "new", CPU)
    expected = read_at_the_end(body, head) + 3.25
    torch.testing.assert_close(loaded.score_trees(TREES, 1000), expected, atol=1e-5, rtol=1e-5)
    assert (loaded.mean, loaded.head.bias.item()) == (-3.25, head.bias.item())
    loaded.save(tmp_path / "again")
    again = load_reward_model(tmp_path / "again", CPU).score_trees(TREES, 1000)
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)


def test_the_user_is_told_which_head_is_read(tmp_path: Path) -> None:
    value_head_in_a_file_of_its_own(tmp_path)
    loaded = load_reward_model(tmp_path, CPU)
    scorer = Scorer(loaded, Codec(loaded.tokenizer, "raw"))
    assert scorer.direct
    (notice,) = scorer.notices
    assert notice.startswith(f"reward_model: {tmp_path}: its score is the head v_head.summary at the last token")
    score_with_a_bias(tmp_path / "plain")
    loaded = load_reward_model(tmp_path / "plain", CPU)
    assert Scorer(loaded, Codec(loaded.tokenizer, "raw")).notices == []


def test_a_head_that_cannot_be_the_reward_is_refused(tmp_path: Path) -> None:
    body, head = body_and_head()
    both = prefixed("lm_backbone.", body) | prefixed("scalar_head.", head) | prefixed("v_head.", head)
    write(tmp_path, recipes_config(body, 0.0), both)
    with pytest.raises(UserError, match="has 2 heads of one output: scalar_head, v_head; keep the reward's only"):
        load_reward_model(tmp_path, CPU)
    write(
        tmp_path, recipes_config(body, 0.0), prefixed("lm_backbone.", body) | prefixed("scalar_head.", nn.Linear(8, 1))
    )
    with pytest.raises(UserError, match=r"its head scalar_head is \(1, 8\), and a score of this model takes \(1, 16\)"):
        load_reward_model(tmp_path, CPU)
    layers = (
        prefixed("lm_backbone.", body) | prefixed("head.0.", nn.Linear(16, 8)) | prefixed("head.2.", nn.Linear(8, 1))
    )
    write(tmp_path, recipes_config(body, 0.0), layers)
    with pytest.raises(UserError, match="has no weights for "):
        load_reward_model(tmp_path, CPU)
    config = body.config.to_dict() | {"model_type": "gpt_neox_reward_model", "pooling": "mean"}
    write(tmp_path, config, prefixed("gpt_neox.", body) | prefixed("out_proj.", head))
    with pytest.raises(UserError, match="knows no model_type 'gpt_neox_reward_model'"):
        load_reward_model(tmp_path, CPU)


@pytest.mark.parametrize("bias", ["1.5", None, float("nan"), True, [1.0]])
def test_a_recorded_bias_must_be_a_number(tmp_path: Path, bias: object) -> None:
    body, head = body_and_head()
    write(tmp_path, recipes_config(body, bias), prefixed("lm_backbone.", body) | prefixed("scalar_head.", head))
    with pytest.raises(UserError, match="config.json: bias is .*, not the number that scores are shifted by"):
        load_reward_model(tmp_path, CPU)


def test_a_scale_of_zero_is_refused(tmp_path: Path) -> None:
    openrlhf(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"std": 0.0}))
    with pytest.raises(UserError, match="std is 0, and scores cannot be divided"):
        read_head(tmp_path)


def test_weights_that_the_configuration_leaves_out_are_still_refused(tmp_path: Path) -> None:
    body, head = body_and_head()
    config = recipes_config(body, 0.0)
    config["base_config"]["num_hidden_layers"] = 1
    write(tmp_path, config, prefixed("lm_backbone.", body) | prefixed("scalar_head.", head))
    with pytest.raises(UserError, match="its weights hold what its config.json leaves out"):
        load_reward_model(tmp_path, CPU)


def test_a_value_head_beside_a_policy_is_no_part_of_the_policy(tmp_path: Path) -> None:
    value_head_among_the_weights(tmp_path)
    expected = tiny.policy("llama", tie_word_embeddings=False).model.state_dict()
    loaded = load_policy(tmp_path, CPU).model.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in loaded)
