from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_runs import BETTER, WORSE, online_run, write_run

from overopt.analysis.model_card import CARD, FIGURE, SETTINGS, write_card
from overopt.records import load_run

PARENTS: list[dict[str, Any]] = [
    {"role": "policy", "location": "hf://maker/sft@main", "path": "/u/ada/x", "commit": "c" * 40, "hash": "a" * 64},
    {"role": "reward_model", "path": "/u/ada/study/runs/rm", "hash": "b" * 64},
]
PLACES = {"policy": "hf://maker/sft@main", "reward_model": "/u/ada/study/runs/rm", "reference": "../runs/my sft"}


@pytest.fixture(autouse=True)
def hash_of_a_run_without_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overopt.records.reader.Run.hash", lambda self: "d" * 64)


def card(tmp_path: Path, evaluations: Any, known: dict[str, Any] | None = None, **changes: Any) -> str:
    info: dict[str, Any] = {"parents": PARENTS, "data": {"task.path": "e" * 64}, "versions": {"overopt": "0.1.0"}}
    info |= {"commit": "f" * 40, "diff_hash": None} | (known or {})
    path = online_run(tmp_path / "kl", evaluations, changes=PLACES | changes, **info)
    (tmp_path / "card").mkdir()
    write_card(load_run(path), tmp_path / "card", "mine")
    return (tmp_path / "card" / CARD).read_text()


def test_the_card_says_what_was_optimized_and_how_it_came_out(tmp_path: Path) -> None:
    text = card(tmp_path, WORSE)
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["overopt", "online"],
        "base_model": "maker/sft",
    }
    assert "# mine\n" in body and "objective kl, coefficient 0.2, learning rate 0.0005" in body
    assert "**OVER**: Over-optimized: the proxy went from +0.00 to +3.00 while the win rate fell" in body
    assert "| win rate | 0% |" in body and "| win rate at step 0 | 40% |" in body
    assert "| KL to the reference, nats per completion | 25 |" in body
    assert "Judge: `gold`; split: tuning." in body
    assert f"![win rate and proxy over training]({FIGURE})" in body
    assert (tmp_path / "card" / FIGURE).read_bytes().startswith(b"\x89PNG")


def test_the_card_says_what_the_model_was_made_from(tmp_path: Path) -> None:
    text = card(tmp_path, BETTER)
    assert f"| policy | hf://maker/sft@main | commit `{'c' * 40}` |" in text
    assert f"| reward_model | rm | hash `{'b' * 12}` |" in text
    assert f"| data: task.path | | hash `{'e' * 12}` |" in text
    assert f"| code | overopt 0.1.0 | commit `{'f' * 12}` |" in text
    assert f"| run | 20 steps, seed 0, finished | hash `{'d' * 12}` |" in text


def test_data_of_the_hub_are_named_with_their_commit(tmp_path: Path) -> None:
    pin = {"location": "hf://datasets/maker/posts", "revision": "main", "commit": "9" * 40}
    data = {"task.path": "e" * 64, "task.evaluation_split": "a" * 64, "task.evaluation_path": "b" * 64}
    text = card(tmp_path, BETTER, known={"data": data, "hub": {"task.path": pin}})
    commit = f"hf://datasets/maker/posts | commit `{'9' * 40}`, hash"
    assert f"| data: task.path | {commit} `{'e' * 12}` |" in text
    assert f"| data: task.evaluation_split | {commit} `{'a' * 12}` |" in text
    assert f"| data: task.evaluation_path | | hash `{'b' * 12}` |" in text


def test_neither_secrets_nor_places_of_this_machine_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted_1234567890")
    notes = {"provenance": {"lr": "hf_planted_1234567890"}, "prompt": "cats and/or dogs", "repeat": "a\nb/c"}
    text = card(tmp_path, BETTER, **notes)
    settings = (tmp_path / "card" / SETTINGS).read_text()
    for written in (text, settings):
        assert "planted" not in written and "/home" not in written and "ada" not in written and ".." not in written
    known = yaml.safe_load(settings)
    assert (known["policy"], known["reward_model"], known["reference"]) == ("hf://maker/sft@main", "rm", "my sft")
    assert (known["prompt"], known["repeat"]) == ("cats and/or dogs", "a\nb/c")
    assert known["regularizers"] == [{"name": "kl", "coef": 0.2}]


def test_a_run_that_nothing_judged_has_no_figure(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    run = write_run(tmp_path / "sft", {"stage": "sft", "task": "miniature"}, [], [{"step": 5, "loss": 1.0}])
    write_card(load_run(run), tmp_path / "card", "mine")
    text = (tmp_path / "card" / CARD).read_text()
    assert "stage `sft`" in text and "![" not in text
    assert not (tmp_path / "card" / FIGURE).exists()


def test_an_adapters_card_names_the_model_below_it(tmp_path: Path) -> None:
    adapter = {"role": "policy", "path": "/u/ada/runs/sft", "hash": "a" * 64}
    below = {"role": "policy.base", "path": "/cache/x", "location": "hf://maker/base", "commit": "c" * 40, "hash": "b"}
    text = card(tmp_path, WORSE, {"parents": [adapter, below]})
    assert yaml.safe_load(text.split("---\n", 2)[1])["base_model"] == "maker/base"
    assert f"| policy.base | hf://maker/base | commit `{'c' * 40}` |" in text
