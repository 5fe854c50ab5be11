"""What `overopt show` says of a stage's records, held against what training packs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from overopt.config import load
from overopt.engine.packing import Tree, pack
from overopt.models.text import Codec
from overopt.planning import samples
from overopt.planning.samples import Piece, Shown, show_all
from overopt.training.stages import STAGES
from overopt.types import Dropped


def shown(count: int = 2, **stages: dict[str, Any]) -> list[Shown]:
    return show_all({name: load(STAGES, config) for name, config in stages.items()}, count)


def marked(one: Shown, sample: int, mark: str) -> list[int]:
    """The ids under a mark, in the order of prompt and completions."""
    parts = one.samples[sample].parts
    return [i for part in parts for piece in part.pieces for i in piece.ids if piece.mark == mark]


@pytest.mark.parametrize("on_prompt", [True, False])
def test_the_loss_of_sft_falls_on_the_targets_that_training_packs(on_prompt: bool) -> None:
    (one,) = shown(sft=tiny.sft(loss_on_prompt=on_prompt))
    assert (one.what, len(one.samples)) == ("demonstrations", 2)
    for number, sample in enumerate(one.samples):
        prompt, completion = ([i for piece in part.pieces for i in piece.ids] for part in sample.parts)
        packed = pack([Tree(prompt, [completion])], prompt_targets=on_prompt)
        assert marked(one, number, "loss") == packed.token_M.tolist()
        assert len(marked(one, number, "loss")) == len(completion) + on_prompt * (len(prompt) - 1)


def test_an_online_stage_and_one_that_samples_its_pairs_show_prompts_alone(tmp_path: Path) -> None:
    chain = tiny.Chain(tmp_path / "sft", tmp_path / "reward")
    stages = {"sft": tiny.sft(), "reward": tiny.reward_model(chain), "kl": tiny.online(chain)}
    _, reward, kl = shown(**stages)
    assert reward.what == kl.what == "prompts"
    assert [part.name for part in kl.samples[0].parts] == ["prompt"]
    assert not marked(kl, 0, "loss")
    assert "up to 24 tokens each" in kl.rule and "2 for each prompt" in reward.rule


def write_pairs(folder: Path) -> Path:
    rows = [
        {"prompt": "a b a b a b", "chosen": "b b", "rejected": "a"},  # too long a prompt
        {"prompt": "a b", "chosen": "b b", "rejected": "a"},
        {"prompt": "b b", "chosen": "b b", "rejected": "b b"},  # equal
        {"prompt": "b a", "chosen": "a b a", "rejected": "b"},
        {"prompt": "b", "chosen": "a", "rejected": "b"},
    ]
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "evaluation.jsonl").write_text(json.dumps({"prompt": "z", "chosen": "a", "rejected": "b"}))
    return file


def test_pairs_are_those_that_fit_and_what_is_left_out_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from overopt.models.text import word_tokenizer

    words = word_tokenizer(["<pad>", "<eos>", "a", "b"])
    monkeypatch.setattr(samples, "models_of", lambda stages, parents: dict.fromkeys(stages, (None, words)))
    task = {"name": "local", "path": str(write_pairs(tmp_path)), "evaluation_path": str(tmp_path / "evaluation.jsonl")}
    common = {"task": task, "pairs": "task", "policy": str(tmp_path), "max_prompt_tokens": 3}
    reward, dpo, again = shown(
        2,
        reward={"stage": "reward_model", **common},
        dpo={"stage": "offline", **common, "max_completion_tokens": 3},
        other={"stage": "offline", **common},
    )
    assert [sample.place for sample in reward.samples] == [f"{task['path']}:{line}" for line in (2, 4)]
    assert reward.count == 4  # the equal pair is left out by the reader
    assert reward.left_out == {
        "training file: chosen and rejected are identical": 1,
        "prompt longer than 3 tokens": 1,
    }
    a, b, eos = 2, 3, 1
    assert [[i for p in part.pieces for i in p.ids] for part in reward.samples[0].parts] == [
        [a, b], [b, b, eos], [a, eos],
    ]  # fmt: skip
    assert marked(reward, 0, "score") == [eos, eos] and not marked(reward, 0, "loss")
    assert marked(dpo, 0, "loss") == [b, b, eos, a, eos]
    assert [sample.place[-1] for sample in dpo.samples] == ["2", "5"]  # the fourth's completion has 4 tokens
    assert [sample.place[-1] for sample in again.samples] == ["2", "4"]


def test_a_bos_that_training_prepends_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from overopt.models.text import word_tokenizer

    words = word_tokenizer(["<pad>", "<eos>", "a", "b"])
    words.bos_token = "<eos>"
    monkeypatch.setattr(samples, "models_of", lambda stages, parents: dict.fromkeys(stages, (None, words)))
    task = {"name": "local", "path": str(write_pairs(tmp_path)), "evaluation_path": str(tmp_path / "evaluation.jsonl")}
    stage = {"stage": "offline", "task": task, "policy": str(tmp_path), "max_prompt_tokens": 3, "prepend_bos": True}
    (one,) = shown(1, simpo=stage)
    bos, a, b, eos = 1, 2, 3, 1
    assert [[i for p in part.pieces for i in p.ids] for part in one.samples[0].parts] == [
        [bos, a, b], [b, b, eos], [a, eos],
    ]  # fmt: skip


def test_stages_that_show_the_same_are_one(tmp_path: Path) -> None:
    first, other = shown(a=tiny.sft(lr=1e-3), b=tiny.sft(lr=1e-2), c=tiny.sft(loss_on_prompt=True))
    assert (first.names, other.names) == (("a", "b"), ("c",))


def test_pairs_of_a_run_that_is_only_planned_are_none(tmp_path: Path) -> None:
    chain = tiny.Chain(tmp_path / "sft", tmp_path / "reward")
    one = shown(sft=tiny.sft(), dpo=tiny.offline(chain))[1]
    assert (one.count, one.samples) == (0, []) and one.rule.endswith("those that reward will sample")


class Bytes:
    """A tokenizer of UTF-8 bytes."""

    eos_token_id = 0
    chat_template = None

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int], **options: Any) -> str:
        return bytes(ids).decode("utf-8", "replace")


def test_tokens_that_spell_one_character_stay_together_unless_the_loss_parts_them() -> None:
    codec = Codec(Bytes(), "raw")
    ids = [*"né🙂".encode(), 0xFF]
    marks = ["", "", "", *["loss"] * 5]
    assert samples._pieces(codec, ids, marks) == [
        Piece((ord("n"),), "n"),
        Piece((0xC3, 0xA9), "é"),
        Piece((0xF0, 0x9F, 0x99, 0x82), "🙂", "loss"),
        Piece((0xFF,), "\ufffd", "loss"),
    ]


def test_the_row_is_json() -> None:
    (one,) = shown(1, sft=tiny.sft())
    row = json.loads(json.dumps(one.row()))
    (sample,) = row["samples"]
    pieces = sample["parts"][1]["pieces"]
    assert pieces[-1]["text"].strip() == "<eos>" and pieces[-1]["mark"] == "loss"
    assert sample["parts"][1]["tokens"] == sum(len(piece["ids"]) for piece in pieces)
    assert Dropped().reasons == row["left_out"]
