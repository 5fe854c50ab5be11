from pathlib import Path

import pytest

from overopt.errors import UserError
from overopt.records.tail import Tail


def test_each_whole_line_comes_once(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "lines.jsonl")
    assert list(tail.rows()) == []
    with (tmp_path / "lines.jsonl").open("a") as file:
        print('{"step": 1}', file=file, flush=True)
        assert list(tail.rows()) == [{"step": 1}]
        print('{"step": 2}\n{"st', end="", file=file, flush=True)
        assert list(tail.rows()) == [{"step": 2}]
        print('ep": 3}', file=file, flush=True)
        assert list(tail.rows()) == [{"step": 3}]
    assert list(tail.rows()) == []


@pytest.mark.parametrize("line", ["{", "3"])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "lines.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=r"lines\.jsonl:1: (not JSON|expected a JSON object, got 3)"):
        list(Tail(tmp_path / "lines.jsonl").rows())
