"""The notebook's cells run in order, with smaller settings, and its runs say what its text says they record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from overopt.config import dump, load
from overopt.training.stages import STAGES

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOK = json.loads((EXAMPLES / "notebook.ipynb").read_text("utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SMALLER = {"task": tiny.TASK, "model": tiny.MODEL, "sft_steps": 10, "pairs": 64, "episodes": 16}


def test_it_was_saved_without_outputs() -> None:
    assert NOTEBOOK["nbformat"] == 4
    for cell in NOTEBOOK["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)


def test_its_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for source in CODE:
        exec(compile(source, "notebook", "exec"), names)
        names |= {name: value for name, value in SMALLER.items() if f"\n{name} = " in f"\n{source}"}
    assert {name: names[name] for name in SMALLER} == SMALLER
    printed = capsys.readouterr().out
    assert "accuracy on held-out pairs: 0." in printed or "accuracy on held-out pairs: 1.0" in printed
    for name, run in names["runs"].items():
        assert f"{name}: " in printed
        assert [row["step"] for row in names["rows"] if row["run"] == name] == [0, 2] and run.status == "finished"
    assert len(names["chart"].to_dict()["hconcat"]) == 2
    assert (tmp_path / "out" / "notebook" / "report.html").is_file()


def test_its_settings_are_those_of_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage as the notebook would train it, against the YAML of examples/, but for locations and tags."""
    trained: list[dict[str, Any]] = []

    class Made:
        path = Path("parent")

        def evaluations(self) -> list[dict[str, float]]:
            return [{"accuracy": 1.0}]

    monkeypatch.setattr("overopt.train", lambda tree, out: trained.append(tree) or Made(), raising=False)
    names: dict[str, Any] = {}
    for source in CODE[: next(place for place, source in enumerate(CODE) if "runs = " in source) + 1]:
        exec(source, names)
    assert [tree["stage"] for tree in trained] == ["sft", "reward_model", "online", "online"]
    for tree in trained[:3]:
        assert comparable(tree) == comparable(EXAMPLES / f"{tree['stage']}_miniature.yaml")


def comparable(config: Any) -> dict[str, Any]:
    """A stage's whole configuration, defaults included, without where its parents are and what its tags say."""
    tree = dump(load(STAGES, config, base=Path.cwd()), Path.cwd())
    return {key: value for key, value in tree.items() if key not in ("policy", "reward_model", "provenance")}
