"""A tiny invented Llama is written as GGUF by llama.cpp's own package, then read back as a Hugging Face folder."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from overopt.errors import UserError
from overopt.models.gguf import dequantize
from overopt.models.load import load_policy, model_folder

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")

TEMPLATE = "{% for message in messages %}{{ '<s>' + message['content'] + '</s>' }}{% endfor %}"
QUANTIZED = "model.layers.1.mlp.down_proj.weight"
TENSORS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, so that the tokenizer can spell any text."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return list(bytes_to_unicode().values())


VOCABULARY = ["<unk>", "<s>", "</s>", *byte_alphabet(), "th", "the"]


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def llama_cpp_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp interleaves the two rotary halves of every head of the query and key matrices."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(model: LlamaForCausalLM, path: Path) -> np.ndarray:
    """Write `model` as GGUF, one matrix quantized; returns what that matrix is once it is dequantized."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(VOCABULARY) - 3))
    writer.add_token_merges(["t h", "th e"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    quantized = gguf.quants.quantize(state[QUANTIZED], gguf.GGMLQuantizationType.Q4_1)
    for layer in range(config.num_hidden_layers):
        for ours, theirs in TENSORS.items():
            name, target = f"model.layers.{layer}.{ours}.weight", f"blk.{layer}.{theirs}.weight"
            if name == QUANTIZED:
                writer.add_tensor(target, quantized, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
                continue
            if name not in state:
                continue
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(theirs)
            writer.add_tensor(target, llama_cpp_order(state[name], heads) if heads else state[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return gguf.quants.dequantize(quantized, gguf.GGMLQuantizationType.Q4_1)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[LlamaForCausalLM, Path]:
    """The model as it ought to be read, and the folder made of its GGUF file."""
    folder = tmp_path_factory.mktemp("gguf")
    model = tiny_llama()
    dequantized = write_gguf(model, folder / "tiny.gguf")
    rounding = np.abs(dequantized - model.state_dict()[QUANTIZED].numpy()).max()
    assert 0 < rounding < 0.1
    model.load_state_dict({**model.state_dict(), QUANTIZED: torch.from_numpy(dequantized)})
    return model, dequantize(folder / "tiny.gguf", folder / "made" / "model")


def test_logits_are_those_of_the_model_that_was_written(converted: tuple[LlamaForCausalLM, Path]) -> None:
    model, folder = converted
    again, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert [len(info[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")] == [0, 0, 0]
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=0, atol=0, msg=name)
    ids = torch.arange(3, 40)[None]
    torch.testing.assert_close(again(ids).logits, model(ids).logits)


def test_the_folder_is_ordinary(converted: tuple[LlamaForCausalLM, Path]) -> None:
    _, folder = converted
    config = json.loads((folder / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    assert "quantization_config" not in config
    assert [path.name for path in folder.parent.iterdir()] == ["model"]  # no staging folder is left


def test_tokenizer_and_chat_template(converted: tuple[LlamaForCausalLM, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted[1])
    text = "the thé"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    spelled = [VOCABULARY[i] for i in ids]
    assert spelled[0] == "the"
    assert spelled[2] == "th"
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == 2
    assert tokenizer.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False) == "<s>the</s>"


def test_a_complete_folder_is_left_alone(converted: tuple[LlamaForCausalLM, Path], tmp_path: Path) -> None:
    folder = converted[1]
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert dequantize(tmp_path / "gone.gguf", folder) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_bad_input_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "made" / "model"
    with pytest.raises(UserError, match=r"gone\.gguf: no such file"):
        dequantize(tmp_path / "gone.gguf", out)
    text = tmp_path / "text.gguf"
    text.write_text("not this")
    with pytest.raises(UserError, match=r"text\.gguf: not a GGUF file"):
        dequantize(text, out)
    foreign = tmp_path / "foreign.gguf"
    writer = gguf.GGUFWriter(foreign, "no_such_architecture")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"foreign\.gguf: transformers cannot read"):
        dequantize(foreign, out)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(foreign.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"cut\.gguf: transformers cannot read.*is it whole"):
        dequantize(cut, out)
    assert not out.parent.exists() or not any(out.parent.iterdir())
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="taken: exists and is not a complete"):
        dequantize(foreign, taken)
    assert [path.name for path in taken.iterdir()] == ["notes.txt"]


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "accelerate" else find_spec(name))
    with pytest.raises(UserError, match="needs accelerate: pip install accelerate"):
        dequantize(tmp_path / "any.gguf", tmp_path / "out")


def test_a_file_that_replaced_another_is_not_served_from_the_old_folder(
    converted: tuple[LlamaForCausalLM, Path], tmp_path: Path
) -> None:
    folder, file = tmp_path / "tiny", tmp_path / "tiny.gguf"
    write_gguf(tiny_llama(), file)
    assert model_folder(str(file)) == folder == model_folder(str(file))
    made_from = json.loads((folder / "gguf.json").read_text())
    assert made_from == {
        "file": "tiny.gguf",
        "size": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    content = file.read_bytes()
    for other in (content[:-4] + b"\0\0\0\1", content + b"\0"):
        file.write_bytes(other)
        with pytest.raises(UserError, match=r"tiny was made from another file of this name.*; rename that folder"):
            model_folder(str(file))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    file.write_bytes(content[:-4] + b"\0\0\0\1")
    folder.rename(tmp_path / "old")
    assert json.loads((model_folder(str(file)) / "gguf.json").read_text())["sha256"] != made_from["sha256"]
    (folder / "gguf.json").unlink()  # as made before folders said it
    file.write_bytes(content)
    assert model_folder(str(file)) == folder


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A file cut, overwritten, or another's, by chance; the header is what comes before the tensors' values."""
    header = content.find(b"output_norm.weight") + 1800
    place, changed = draw.randrange(4, header), bytearray(content)
    match draw.choice(["cut", "bit", "bytes", "zeros", "shift", "magic", "count", "name", "empty", "pointer"]):
        case "cut":
            return content[: draw.randrange(len(content))]
        case "bit":
            changed[place] ^= 1 << draw.randrange(8)
        case "bytes":
            for _ in range(8):
                changed[draw.randrange(4, header)] = draw.randrange(256)
        case "zeros":
            changed[place : place + 64] = bytes(64)
        case "shift":
            changed[place:place] = b"xyz"
        case "magic":
            changed[:4] = draw.randbytes(4)
        case "count":
            changed[draw.randrange(4, 24)] = draw.randrange(256)
        case "name":
            changed[content.find(b"blk.1") + draw.randrange(15)] ^= 1
        case "empty":
            return b""
        case "pointer":
            return b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    return bytes(changed)


def test_damaged_files_are_said_by_name(tmp_path: Path) -> None:
    whole, file, said = tmp_path / "whole.gguf", tmp_path / "damaged.gguf", []
    write_gguf(tiny_llama(), whole)
    content, draw = whole.read_bytes(), random.Random(0)
    for number in range(25):
        file.write_bytes(damaged(content, draw))
        try:
            load_policy(dequantize(file, tmp_path / f"made-{number}"), torch.device("cpu"))
        except UserError as error:
            said.append(str(error))
    assert all(str(tmp_path) in line for line in said)
    assert 18 <= len(said) <= 25  # a flipped bit of a number or of a word is another model, and nobody can tell
    assert not list(tmp_path.glob(".made*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.layers.1.mlp.up_proj.weight"), "has no weights for model.layers.1.mlp.up_proj"),
        (lambda state: state["model.norm.weight"].fill_(math.nan), "values of model.norm.weight are NaN or infinite"),
    ],
)
def test_a_file_of_damaged_weights_makes_no_folder(change: Any, message: str, tmp_path: Path) -> None:
    model = tiny_llama()
    state = model.state_dict()
    change(state)
    model.state_dict = lambda: state  # type: ignore[method-assign]
    write_gguf(model, tmp_path / "tiny.gguf")
    with pytest.raises(UserError, match=f"tiny.gguf: {message}"):
        dequantize(tmp_path / "tiny.gguf", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    write_gguf(tiny_llama(), tmp_path / "tiny.gguf")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="made: cannot write the model of .*tiny.gguf"):
        dequantize(tmp_path / "tiny.gguf", tmp_path / "file" / "made")
