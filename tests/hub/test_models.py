from __future__ import annotations

from pathlib import Path

import pytest

from hub import LoopbackHub
from overopt.errors import UserError
from overopt.hub.models import model_snapshot
from overopt.hub.names import HubName

NAME = HubName("model", "owner/tiny")
MODEL = {
    "config.json": '{"model_type": "gpt_neox"}', "generation_config.json": "{}", "tokenizer.json": "{}",
    "additional_chat_templates/x.jinja": "x", "README.md": "about", "model.safetensors": "w" * 1000,
    "pytorch_model.bin": "pickle", "consolidated.safetensors": "the same again", "onnx/model.safetensors": "x",
    "onnx/config.json": "{}",
}  # fmt: skip


def fetched(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


TEXTS = ["additional_chat_templates/x.jinja", "config.json", "generation_config.json", "tokenizer.json"]


def test_what_is_fetched_of_a_model(loopback_hub: LoopbackHub) -> None:
    commit = loopback_hub.add("model", NAME.repo, MODEL)
    folder = model_snapshot(NAME, "configuration")
    assert folder.name == commit and fetched(folder) == ["config.json"]
    assert fetched(model_snapshot(NAME, "tokenizer")) == TEXTS
    assert model_snapshot(NAME) == folder and fetched(folder) == sorted([*TEXTS, "model.safetensors"])
    assert (folder / "model.safetensors").read_text() == MODEL["model.safetensors"]


def test_the_weights_that_an_index_names(loopback_hub: LoopbackHub) -> None:
    index = '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    parts = {f"model-0000{n}-of-00002.safetensors": f"{n}" for n in (1, 2)}
    files = {"config.json": "{}", "model.safetensors.index.json": index, "other.safetensors": "x"}
    loopback_hub.add("model", NAME.repo, files | parts)
    assert fetched(model_snapshot(NAME)) == sorted(["config.json", "model.safetensors.index.json", *parts])
    parts.pop("model-00002-of-00002.safetensors")
    loopback_hub.add("model", NAME.repo, files | parts)
    with pytest.raises(UserError, match="lacks 1 of 2 files of weights that its .*names, first model-00002-of"):
        model_snapshot(NAME)
    loopback_hub.add("model", NAME.repo, {**files, **parts, "model.safetensors.index.json": "[]"})
    with pytest.raises(UserError, match="owner/tiny@.*index.json: expected a JSON object"):
        model_snapshot(NAME)


def test_a_head_in_a_file_of_its_own_is_fetched_with_the_weights(loopback_hub: LoopbackHub) -> None:
    loopback_hub.add("model", NAME.repo, MODEL | {"value_head.safetensors": "head"})
    assert fetched(model_snapshot(NAME)) == sorted([*TEXTS, "model.safetensors", "value_head.safetensors"])


def test_pickles_are_fetched_for_conversion_only(loopback_hub: LoopbackHub) -> None:
    pickles = {"pytorch_model-00001-of-00002.bin": "1", "pytorch_model-00002-of-00002.bin": "2", "value_head.bin": "3"}
    others = {"training_args.bin": "x", "optimizer.pt": "x", "model.py": "x", "old/pytorch_model.bin": "x"}
    texts = {"config.json": "{}", "pytorch_model.bin.index.json": "{}", "tokenizer.json": "{}"}
    loopback_hub.add("model", NAME.repo, texts | pickles | others)
    assert fetched(model_snapshot(NAME, "pickles")) == sorted([*texts, *pickles])
    loopback_hub.add("model", NAME.repo, texts | pickles | {"model.safetensors": "x"})
    with pytest.raises(UserError, match="has safetensors already .model.safetensors.; name it as it is"):
        model_snapshot(NAME, "pickles")
    loopback_hub.add("model", NAME.repo, texts | others)
    with pytest.raises(UserError, match="has no pickled weights .*, but config.json, model.py"):
        model_snapshot(NAME, "pickles")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"README.md": "x", "data.csv": "y"},
            "is no model that transformers can load: it has no config.json, but ",
        ),
        ({"config.json": "{}"}, "has no weights (model.safetensors), but config.json"),
        ({"config.json": "{}", "pytorch_model.bin": "x"}, "`overopt convert hf://owner/tiny@"),
        ({"config.json": "{}", "adapter_config.json": "{}", "adapter_model.bin": "x"}, "is an adapter of another"),
    ],
)
def test_a_repository_without_the_expected_files(loopback_hub: LoopbackHub, files: dict[str, str], said: str) -> None:
    loopback_hub.add("model", NAME.repo, files)
    with pytest.raises(UserError) as refused:
        model_snapshot(NAME)
    assert str(refused.value).startswith("hf://owner/tiny@") and said in str(refused.value)
    assert loopback_hub.asked("/resolve/") == 0  # before anything was fetched


def test_an_adapter_is_its_two_files_and_the_texts_beside_them(loopback_hub: LoopbackHub) -> None:
    files = {"adapter_config.json": "{}", "adapter_model.safetensors": "x", "tokenizer.json": "{}"}
    loopback_hub.add("model", NAME.repo, files | {"README.md": "x", "adapter_model.bin": "x", "optimizer.pt": "x"})
    assert fetched(model_snapshot(NAME)) == sorted(files)
    loopback_hub.add("model", NAME.repo, files | {"config.json": "{}", "model.safetensors": "y"})
    assert "adapter_model.safetensors" not in fetched(model_snapshot(NAME))  # the model beside it is whole


def test_a_configuration_that_would_fill_the_memory(loopback_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overopt.hub.models.TEXT_LIMIT", 20)
    loopback_hub.add("model", NAME.repo, MODEL)
    with pytest.raises(UserError, match=r"its config.json has 0.0 GB; no configuration or tokenizer has"):
        model_snapshot(NAME, "tokenizer")
    assert loopback_hub.asked("/resolve/") == 0


def test_a_repository_of_a_tokenizer_alone(loopback_hub: LoopbackHub) -> None:
    loopback_hub.add("model", NAME.repo, {"tokenizer.json": "{}", "README.md": "x"})
    assert fetched(model_snapshot(NAME, "tokenizer")) == ["tokenizer.json"]
    loopback_hub.add("model", NAME.repo, {"config.json": "{}"})
    with pytest.raises(UserError, match="it has no tokenizer, but config.json"):
        model_snapshot(NAME, "tokenizer")
