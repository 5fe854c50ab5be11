from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families import LAYOUTS
from tiny_models import llama_of

from overopt.config import name_of
from overopt.engine.compute import Compute
from overopt.errors import UserError
from overopt.evaluation.judges import hf
from overopt.evaluation.judges.base import Answer, Comparison, Question, Situation
from overopt.evaluation.judges.choosing import judge_from
from overopt.evaluation.judges.hf import HF
from overopt.evaluation.judges.local_model import LocalModel
from overopt.evaluation.judges.prompts import J1, J2
from overopt.types import Completion, PromptRecord

TEXTS = ["the cat sat", "on the mat .", "Paris", "a short answer", "it is five", "the dog ran over the hill"]
PAIRS = [
    Comparison(PromptRecord(str(i), f"question {i} ?"), Completion(ours), Completion(theirs))
    for i, (ours, theirs) in enumerate(zip(TEXTS, [*TEXTS[1:], TEXTS[0]], strict=True))
]


@pytest.fixture(autouse=True)
def _nothing_stays_loaded() -> None:
    hf._load.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "little"
    llama_of(LAYOUTS["SmolLM2"](), context=2048).save(folder)
    return folder


class Watched(Situation):
    """A situation with a cache of its own that remembers what it was told."""

    def __init__(self, cache: Path, **more: Any) -> None:
        self.seen: list[tuple[int, int]] = []
        self.said: list[str] = []
        settings = {"compute": Compute(device="cpu"), "notice": self.said.append} | more
        super().__init__(cache=cache, progress=lambda *counts: self.seen.append(counts), **settings)


@pytest.fixture
def situation(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "cache.sqlite")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """The questions that reach a model."""
    questions: list[Question] = []
    answers = LocalModel.answers

    def watched(self: LocalModel, batch: Sequence[Question]) -> list[Answer | None]:
        questions.extend(batch)
        return answers(self, batch)

    monkeypatch.setattr(LocalModel, "answers", watched)
    return questions


def test_both_orders_by_the_most_probable_letter(folder: Path, situation: Watched) -> None:
    """What each reply says is what the model, asked alone, finds most probable."""
    found = HF(model=str(folder)).judge(PAIRS, situation)
    model = LocalModel.load(folder, "logprobs", Compute(device="cpu"))
    for pair, judgement in zip(PAIRS, found, strict=True):
        for position, reply in zip(("A", "B"), judgement.replies, strict=True):
            (answer,) = model.answers([J1().question(pair, position)])
            assert answer is not None and reply.text == answer.text
            assert reply.text in ("Preferred: A", "Preferred: B")
            assert reply.verdict == ("ours" if reply.text[-1] == position else "reference")
    assert {reply.text for judgement in found for reply in judgement.replies} == {"Preferred: A", "Preferred: B"}


def test_as_text_a_reply_without_an_answer_is_invalid(folder: Path, situation: Watched, asked: list[Question]) -> None:
    """Random weights write nonsense; it is kept as it is, and not asked for again."""
    found = HF(model=str(folder), prompt=J2(), answer="text").judge(PAIRS, situation)
    assert [judgement.outcome for judgement in found] == [None] * 6
    assert all(reply.verdict == "invalid" and reply.text for judgement in found for reply in judgement.replies)
    assert len(asked) == 12
    HF(model=str(folder), prompt=J2(), answer="text", attempts=3).judge(PAIRS, situation)
    assert len(asked) == 12  # it would say the same


def test_a_killed_command_loses_one_batch(
    folder: Path, situation: Watched, asked: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = HF(model=str(folder)).judge(PAIRS, Watched(tmp_path / "another.sqlite"))
    monkeypatch.setattr(hf, "BATCH", 5)
    watched, calls = LocalModel.answers, []

    def killed(self: LocalModel, batch: Sequence[Question]) -> list[Answer | None]:
        found = watched(self, batch)
        calls.append(len(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(LocalModel, "answers", killed)
    with pytest.raises(KeyboardInterrupt):
        HF(model=str(folder)).judge(PAIRS, situation)
    assert situation.seen == [(0, 12), (5, 12)]
    asked.clear()
    again = HF(model=str(folder)).judge(PAIRS, situation)
    assert calls == [5, 5, 5, 2] and len(asked) == 7
    assert situation.seen[2:] == [(5, 12), (10, 12), (12, 12)]
    assert [_without_dates(j) for j in again] == [_without_dates(j) for j in undisturbed]


def _without_dates(judgement: Any) -> Any:
    return replace(judgement, replies=tuple(replace(reply, date="") for reply in judgement.replies))


def test_nothing_is_asked_twice(folder: Path, situation: Watched, asked: list[Question]) -> None:
    """A pair that comes twice is asked once; with every reply in the cache no model is loaded."""
    first = HF(model=str(folder)).judge([*PAIRS, PAIRS[0]], situation)
    assert len(asked) == 12 and first[-1] == first[0]
    hf._load.cache_clear()
    assert HF(model=str(folder)).judge([*PAIRS, PAIRS[0]], situation) == first
    assert len(asked) == 12 and hf._load.cache_info().misses == 0


def test_a_command_loads_the_model_once(folder: Path, situation: Watched) -> None:
    for start in (0, 3):
        HF(model=str(folder)).judge(PAIRS[start : start + 3], situation)
    assert hf._load.cache_info().misses == 1


def test_what_is_too_long_is_invalid_and_said(tmp_path: Path, situation: Watched, asked: list[Question]) -> None:
    size = len(LAYOUTS["SmolLM2"]().encode(J1().question(PAIRS[0], "A").messages[1][1]))
    llama_of(LAYOUTS["SmolLM2"](), context=size + 100).save(tmp_path / "short")
    long = replace(PAIRS[1], record=PromptRecord("long", "the question " * 200))
    judge = HF(model=str(tmp_path / "short"))
    found = judge.judge([PAIRS[0], long], situation)
    assert found[0].outcome is not None and found[1].outcome is None
    assert [(reply.verdict, reply.text) for reply in found[1].replies] == [("invalid", "")] * 2
    assert situation.said == [
        f"hf/short: 2 of 4 questions are, with the reply, longer than the {size + 100} tokens that the model was made "
        "for; they were not asked, and count as invalid replies"
    ]
    assert judge.judge([PAIRS[0]], situation)[0].outcome == found[0].outcome


def test_identity(folder: Path, situation: Watched, tmp_path: Path) -> None:
    judge = HF(model=str(folder))
    identity = judge.identity(situation)
    assert (identity.id, identity.prompt, identity.prompt_hash) == ("hf/little:j1", "j1", J1().hash)
    as_text = HF(model=str(folder), answer="text").identity(situation)
    assert as_text.id == "hf/little/text:j1"
    bf16 = Watched(tmp_path / "b", compute=Compute(device="cpu", precision="bf16"))
    hashes = [identity.hash, as_text.hash, HF(model=str(folder), prompt=J2()).identity(situation).hash]
    hashes += [judge.identity(bf16).hash, HF(model=str(folder), orders="random").identity(situation).hash]
    assert len(set(hashes)) == 5
    small = Watched(tmp_path / "c", compute=Compute(device="cpu", threads=1, token_budget=64))
    assert judge.identity(small) == identity  # how it is computed changes no reply


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer_config.json", "chat_template.jinja"])
def test_every_file_that_decides_is_in_the_hash(file: str, tmp_path: Path, situation: Watched) -> None:
    model = llama_of(LAYOUTS["SmolLM2"]())
    model.save(tmp_path / "little")
    judge = HF(model=str(tmp_path / "little"))
    before = judge.identity(situation)
    if file.endswith(".safetensors"):
        with torch.no_grad():
            model.parameters()[0][0, 0] += 1
        model.save(tmp_path / "little")
    elif file.endswith(".json"):
        settings = json.loads((tmp_path / "little" / file).read_text())
        (tmp_path / "little" / file).write_text(json.dumps(settings | {"model_max_length": 7}))
    else:
        template = tmp_path / "little" / file
        template.write_text(template.read_text() + "\n")
    after = judge.identity(situation)
    assert after.id == before.id and after.hash != before.hash


def test_by_name(folder: Path) -> None:
    named = judge_from(f"{{name: hf, model: {folder}, prompt: j2, answer: text}}")
    assert named == HF(model=str(folder), prompt=J2(), answer="text") and name_of(HF) == "hf"


def test_no_such_folder(tmp_path: Path, situation: Watched) -> None:
    with pytest.raises(UserError, match="nowhere: not a Hugging Face model folder"):
        HF(model=str(tmp_path / "nowhere")).judge(PAIRS, situation)
