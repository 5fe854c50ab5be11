"""The union of tasks as a config chooses it (tasks/__init__.py)."""

import subprocess
import sys
from pathlib import Path

import pytest

from overopt.config import block, dump, load
from overopt.errors import ConfigError
from overopt.tasks import Local, Miniature, Task, TaskProtocol


@block
class Stage:
    task: Task = Miniature()


def test_a_task_is_chosen_by_name_and_written_back(tmp_path: Path) -> None:
    assert load(Stage, {"task": "miniature"}).task == Miniature()
    assert load(Stage, {"task": {"name": "miniature", "prompt_count": 7}}).task == Miniature(prompt_count=7)
    stage = load(Stage, {"task": {"name": "local", "path": "pairs.jsonl"}}, base=tmp_path)
    assert stage.task == Local(path=str(tmp_path / "pairs.jsonl"))
    written = dump(stage, relative_to=tmp_path)
    assert written["task"]["path"] == "pairs.jsonl"
    assert load(Stage, written, base=tmp_path) == stage


def test_counts_are_positive() -> None:
    with pytest.raises(ConfigError, match=r"task\.prompt_count: must be > 0, got 0"):
        load(Stage, {"task": {"name": "miniature", "prompt_count": 0}})


@pytest.mark.parametrize("task", [{"name": "miniature"}, {"name": "local", "path": "pairs.jsonl"}])
def test_a_task_may_hide_its_texts_and_the_record_says_so(task: dict[str, object]) -> None:
    stage = load(Stage, {"task": task}, [("task.report.samples", "hidden")])
    assert dump(stage)["task"]["report"] == {"samples": "hidden"}
    assert dump(load(Stage, {"task": task}))["task"]["report"] == {"samples": "shown"}
    with pytest.raises(ConfigError, match=r"task\.report\.samples: "):
        load(Stage, {"task": {**task, "report": {"samples": "hiden"}}})


def test_every_task_follows_the_protocol() -> None:
    tasks: list[TaskProtocol] = [Miniature(), Local(path="pairs.jsonl")]
    assert [task.prompt_style for task in tasks] == ["raw", "raw"]
    assert [task.has_gold for task in tasks] == [True, False]


def test_tasks_need_no_torch() -> None:
    code = "import sys, overopt.tasks; sys.exit(bool({'torch', 'transformers', 'pyarrow'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
