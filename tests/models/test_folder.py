"""Damaged model folders: each loads, or one sentence names it; nothing else ever reaches the user."""

from __future__ import annotations

import builtins
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from transformers import AutoConfig

from overopt.datafiles import LFS_POINTER
from overopt.errors import UserError
from overopt.models.folder import check_weights, reading, unwrapped
from overopt.models.load import load_policy, load_reward_model, load_tokenizer
from overopt.models.reward_model import RewardModel

CPU = torch.device("cpu")
LFS = LFS_POINTER + b"/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 134000000\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy's folder and, beside it, a reward model's."""
    out = tmp_path_factory.mktemp("whole")
    policy = tiny.policy("llama")
    policy.save(out / "policy")
    (out / "policy" / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    RewardModel.from_policy(policy, torch.Generator().manual_seed(0)).save(out / "reward_model")
    return out


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole / "policy", tmp_path / "policy"))


def change(folder: Path, name: str = "config.json", **fields: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", LFS, "model.safetensors: a git-lfs pointer, .* run git lfs pull"),
        ("model.safetensors", b"", "model.safetensors: empty; download it again"),
        ("model.safetensors", b"<html>no such file</html>", "model.safetensors: no safetensors file"),
        ("tokenizer.json", LFS, "tokenizer.json: a git-lfs pointer, .* run git lfs pull"),
        ("tokenizer.json", b'{"version":', "its tokenizer cannot be loaded: .*tokenizer.json: not JSON"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json: not JSON"),
        ("config.json", b"{", "config.json: not JSON"),
        ("config.json", b"[1]", "config.json: holds no JSON object"),
        ("config.json", b"{}", "config.json: names no model_type"),
        ("config.json", b'{"model_type": ""}', "config.json: names no model_type"),
        ("generation_config.json", b"{", "generation_config.json: not JSON"),
        ("chat_template.jinja", b"\xff\xfe{", "chat_template.jinja: a chat template that is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        load_policy(folder, CPU)


def test_weights_cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(
        UserError, match=f"model.safetensors: cut short: it has {len(content) - 1} bytes of {len(content)}"
    ):
        load_policy(folder, CPU)


def test_a_header_of_no_numbers(folder: Path) -> None:
    header = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, Infinity]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match="model.safetensors: its safetensors header is damaged or cut short"):
        load_policy(folder, CPU)


def test_a_missing_shard(folder: Path) -> None:
    policy = load_policy(folder, CPU)
    (folder / "model.safetensors").unlink()
    policy.model.save_pretrained(folder, max_shard_size="10KB")
    load_policy(folder, CPU)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    with pytest.raises(UserError, match=f"1 of {len(shards)} weight files are missing, first {shards[1].name}"):
        load_policy(folder, CPU)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match="model.safetensors.index.json: lists no weights"):
        load_policy(folder, CPU)


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/other/model.safetensors"])
def test_an_index_that_leaves_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError, match="index.json: names a file outside the folder .*do not use this model"):
        check_weights(tmp_path)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "fp8", "compressed-tensors"])
def test_a_quantized_folder(folder: Path, method: str) -> None:
    change(folder, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(
        UserError, match=rf"its weights are quantized \({method}\), and quantized weights cannot be trained"
    ):
        load_policy(folder, CPU)


def test_quantized_weights_that_do_not_say_so(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].to(torch.float8_e4m3fn)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="model.norm.weight is quantized .F8_E4M3."):
        load_policy(folder, CPU)


def test_code_of_its_own_is_refused_without_asking(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("asked on the terminal")

    monkeypatch.setattr(builtins, "input", asked)
    change(folder, model_type="mine", auto_map={"AutoConfig": "configuration_mine.C"})
    (folder / "configuration_mine.py").write_text("raise SystemExit('run')")
    with pytest.raises(UserError, match="this 'mine' model asks for Python code of its own") as refused:
        load_policy(folder, CPU)
    assert "trust_remote_code" not in str(refused.value)


def test_tokenizers_with_code_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked on the terminal"))
    (folder / "tokenizer.json").unlink()
    change(folder, "tokenizer_config.json", tokenizer_class="Mine", auto_map={"AutoTokenizer": ["mine.Mine", None]})
    (folder / "mine.py").write_text("raise SystemExit('run')")
    with pytest.raises(UserError) as refused:
        load_policy(folder, CPU)
    assert "trust_remote_code" not in str(refused.value) and str(folder) in str(refused.value)


def test_a_tokenizer_of_a_newer_library(folder: Path) -> None:
    change(folder, "tokenizer.json", pre_tokenizer={"type": "OfAYearToCome"})
    with pytest.raises(
        UserError, match="its tokenizer cannot be loaded: .*pip install --upgrade tokenizers transformers"
    ):
        load_tokenizer(folder)


def test_an_unknown_architecture(folder: Path) -> None:
    change(folder, model_type="of_a_year_to_come")
    with pytest.raises(UserError, match="knows no model_type 'of_a_year_to_come'; a newer one may"):
        load_policy(folder, CPU)


def test_what_lies_there_instead(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="pytorch_model.bin is a pickle, which could run code .* never loaded here"):
        load_policy(folder, CPU)
    (folder / "pytorch_model.bin").rename(folder / "small.gguf")
    with pytest.raises(UserError, match="to train from the GGUF file name it: .*small.gguf"):
        load_policy(folder, CPU)
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="does not name the model that it adapts"):
        load_policy(folder, CPU)


def test_weights_of_another_shape(folder: Path) -> None:
    change(folder, vocab_size=200)
    with pytest.raises(
        UserError, match=r"do not fit its config.json: lm_head.weight is \(142, 16\), not \(200, 16\), and 1 more"
    ):
        load_policy(folder, CPU)


def test_a_panic_of_a_library_is_caught_and_an_interruption_is_not(folder: Path) -> None:
    class PanicException(BaseException):  # as pyo3's is no Exception
        pass

    with pytest.raises(UserError, match="x cannot be read: PanicException: boom"), reading(folder, "x cannot be read"):
        raise PanicException("boom")
    with pytest.raises(KeyboardInterrupt), reading(folder, "x"):
        raise KeyboardInterrupt


def damages(rng: random.Random) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Ways to damage a file."""

    def cut(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: rng.randrange(len(content))])

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[rng.randrange(min(len(content), 400))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)

    def directory(path: Path) -> None:
        path.unlink()
        path.mkdir()

    yield "gone", Path.unlink
    yield "empty", lambda path: path.write_bytes(b"") and None
    yield "pointer", lambda path: path.write_bytes(LFS) and None
    yield "directory", directory
    yield "cut", cut
    yield "flipped", flip
    yield "flipped again", flip
    yield "JSON too deep", lambda path: path.write_text("[" * 100_000) and None
    yield "UTF-16", lambda path: path.write_text("{}", encoding="utf-16") and None


WRONG = [None, [], {}, "x", -1, 0, 1.5, True, 10**12]


def wrong_fields(rng: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    fields = [name for name in AutoConfig.for_model("llama").to_dict() if name != "num_hidden_layers"]
    for _ in range(40):
        name, value = rng.choice(fields), rng.choice(WRONG)
        yield f"{name}={value!r}", {name: value}


def outcome(load: Callable[[Path], Any], folder: Path) -> str:
    """Empty if a damaged folder loads, or is refused in a sentence that names it; else what escaped."""
    try:
        load(folder)
    except UserError as error:
        return "" if str(folder) in str(error) else f"does not name the folder: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_no_damage_escapes(whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng, escaped, tried = random.Random(0), [], 0
    kinds: dict[str, Callable[[Path], Any]] = {
        "policy": lambda folder: load_policy(folder, CPU),
        "reward_model": lambda folder: load_reward_model(folder, CPU),
    }
    for kind, load in kinds.items():
        for file in sorted(path.name for path in (whole / kind).iterdir()):
            for what, damage in damages(rng):
                folder = Path(shutil.copytree(whole / kind, tmp_path / f"{tried}"))
                damage(folder / file)
                found, tried = outcome(load, folder), tried + 1
                escaped += [f"{kind}/{file} {what}: {found}"] if found else []
                shutil.rmtree(folder)
    for what, fields in wrong_fields(rng):
        folder = Path(shutil.copytree(whole / "policy", tmp_path / f"{tried}"))
        change(folder, **fields)
        found, tried = outcome(kinds["policy"], folder), tried + 1
        escaped += [f"config.json {what}: {found}"] if found else []
        shutil.rmtree(folder)
    assert tried > 120
    assert not escaped, "\n".join(escaped)


@pytest.mark.parametrize("outer", [{}, {"model_type": ""}])
def test_a_wrapper_without_a_name_of_its_own_is_its_body(outer: dict[str, str]) -> None:
    assert unwrapped(outer | {"bias": 0.5, "base_config": {"model_type": "gpt_neox"}}) == {"model_type": "gpt_neox"}
