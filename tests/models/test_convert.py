from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from overopt.errors import UserError
from overopt.models import convert as module
from overopt.models.convert import convert
from overopt.models.load import load_policy

CPU = torch.device("cpu")
IDS = torch.tensor([[3, 4, 5, 20, 21]])


def pickled(folder: Path, shards: int = 1, **extra: Any) -> dict[str, torch.Tensor]:
    """A folder as old versions of transformers wrote it; returns its weights by name, ties included."""
    policy = tiny.policy("llama", **extra)
    policy.save(folder)
    (folder / "model.safetensors").unlink()
    state = dict(policy.model.state_dict())
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return state
    names = [f"pytorch_model-{i + 1:05}-of-{shards:05}.bin" for i in range(shards)]
    places = {name: names[i * shards // len(state)] for i, name in enumerate(state)}
    for file in names:
        torch.save({name: state[name] for name in state if places[name] == file}, folder / file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return state


def logits_of(policy: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = policy.model(input_ids=IDS).logits
    return result


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("tied", [True, False])
def test_a_converted_folder_computes_what_the_pickled_one_does(tmp_path: Path, shards: int, tied: bool) -> None:
    state = pickled(tmp_path / "old", shards, tie_word_embeddings=tied)
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(tmp_path / "old", use_safetensors=False)(input_ids=IDS).logits
    converted = convert(tmp_path / "old", tmp_path / "new")
    assert converted is not None and converted.files == shards
    policy = load_policy(tmp_path / "new", CPU)
    assert torch.equal(logits_of(policy), expected)
    head, embedding = policy.model.get_output_embeddings().weight, policy.model.get_input_embeddings().weight
    assert (head.data_ptr() == embedding.data_ptr()) is tied
    assert {name: tuple(value.shape) for name, value in policy.model.state_dict().items()} == {
        name: tuple(value.shape) for name, value in state.items()
    }


def test_of_tied_weights_one_name_is_kept(tmp_path: Path) -> None:
    state = pickled(tmp_path / "old", tie_word_embeddings=True)
    converted = convert(tmp_path / "old", tmp_path / "new")
    assert converted is not None and converted.tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert "lm_head.weight is tied to model.embed_tokens.weight" in str(converted)
    written = load_file(tmp_path / "new" / "model.safetensors")
    assert written.keys() == state.keys() - {"lm_head.weight"}
    with safe_open(tmp_path / "new" / "model.safetensors", "pt") as file:
        assert file.metadata()["lm_head.weight"] == "model.embed_tokens.weight"


def test_shared_memory_that_the_model_does_not_tie_becomes_two_weights(tmp_path: Path) -> None:
    state = pickled(tmp_path / "old", tie_word_embeddings=False)
    shared = state | {"lm_head.weight": state["model.embed_tokens.weight"]}
    torch.save(shared, tmp_path / "old" / "pytorch_model.bin")
    assert convert(tmp_path / "old", tmp_path / "new")
    written = load_file(tmp_path / "new" / "model.safetensors")
    assert written.keys() == shared.keys()
    assert all(torch.equal(written[name], shared[name]) for name in shared)


def test_every_dtype_and_layout_keeps_its_bits(tmp_path: Path) -> None:
    pickled(tmp_path / "old")
    odd = {
        "half": torch.randn(3, 2).half(),
        "bfloat": torch.tensor([float("nan"), -0.0], dtype=torch.bfloat16),
        "turned": torch.arange(6.0).reshape(2, 3).t(),
        "mask": torch.tensor([[True, False]]),
        "number": torch.tensor(7),
        "none": torch.zeros(0, 4),
    }
    torch.save(odd, tmp_path / "old" / "pytorch_model.bin")
    assert convert(tmp_path / "old", tmp_path / "new")
    written = load_file(tmp_path / "new" / "model.safetensors")
    for name, value in odd.items():
        assert (written[name].dtype, written[name].shape) == (value.dtype, value.shape)
        torch.testing.assert_close(written[name], value, atol=0, rtol=0, equal_nan=True)


def test_all_but_weights_and_code_goes_along(tmp_path: Path) -> None:
    pickled(tmp_path / "old", 2)
    for name in ("README.md", "LICENSE", "modeling_own.py", "optimizer.pt", "tf_model.h5", "training_args.bin"):
        (tmp_path / "old" / name).write_text("text")
    convert(tmp_path / "old", tmp_path / "new", "maker/model@abc")
    names = {file.name for file in (tmp_path / "new").iterdir()}
    assert names >= {"config.json", "generation_config.json", "tokenizer.json", "README.md", "LICENSE"}
    assert not any(name.endswith((".bin", ".py", ".pt", ".h5", ".bin.index.json")) for name in names)
    made_from = json.loads((tmp_path / "new" / module.MADE_FROM).read_text())
    assert made_from["source"] == "maker/model@abc"
    assert sorted(made_from["files"]) == [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    assert load_policy(tmp_path / "new", CPU)


def test_doing_it_again_changes_nothing_and_another_folder_is_kept(tmp_path: Path) -> None:
    state = pickled(tmp_path / "old")
    assert convert(tmp_path / "old", tmp_path / "new")
    before = (tmp_path / "new" / "model.safetensors").stat().st_mtime_ns
    assert convert(tmp_path / "old", tmp_path / "new") is None
    assert (tmp_path / "new" / "model.safetensors").stat().st_mtime_ns == before
    torch.save({name: value + 1 for name, value in state.items()}, tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(UserError, match="new: exists and was not made from these weights"):
        convert(tmp_path / "old", tmp_path / "new")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="mine: exists and was not made from these weights"):
        convert(tmp_path / "old", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert convert(tmp_path / "old", tmp_path / "empty")


def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = pickled(tmp_path / "old", 2)
    second = tmp_path / "old" / "pytorch_model-00002-of-00002.bin"
    second.write_bytes(second.read_bytes()[:-200])
    with pytest.raises(UserError, match=rf"{second}: "):
        convert(tmp_path / "old", tmp_path / "new")
    assert [file.name for file in tmp_path.iterdir()] == ["old"]
    shutil.rmtree(tmp_path / "old")
    pickled(tmp_path / "old")

    def full(*arguments: Any, **settings: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match="new: cannot be written .No space left on device"):
        convert(tmp_path / "old", tmp_path / "new")
    assert [file.name for file in tmp_path.iterdir()] == ["old"]

    class Usage:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage)
    with pytest.raises(UserError, match="GB of disk, and 0.0 GB are free"):
        convert(tmp_path / "old", tmp_path / "new")
    assert state


def test_folders_with_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a Hugging Face model folder"):
        convert(tmp_path, tmp_path / "new")
    tiny.policy().save(tmp_path)
    with pytest.raises(UserError, match="has safetensors weights already .model.safetensors.; name this folder"):
        convert(tmp_path, tmp_path / "new")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no pickled weights \(pytorch_model.bin, .*\) but config.json, "):
        convert(tmp_path, tmp_path / "new")


def test_the_message_about_a_pickle_names_the_command(tmp_path: Path) -> None:
    pickled(tmp_path / "old")
    with pytest.raises(UserError, match=f"write it as safetensors: overopt convert {tmp_path / 'old'} "):
        load_policy(tmp_path / "old", CPU)
