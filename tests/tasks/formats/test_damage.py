"""200 damaged files for every reader of data: each is read, or refused in words that name it; none gets through."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from overopt.analysis.scored_sets import read_scored_set
from overopt.datafiles import shards
from overopt.errors import UserError
from overopt.tasks.local import Local
from overopt.types import Dropped

Rows = list[dict[str, Any]]


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def forms(n: int) -> dict[str, dict[str, Any]]:
    """A row of every form, number n."""
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": n}}}
    talk = [turn("system", "brief"), turn("user", f"question {n}"), turn("assistant", f"answer {n}")]
    said = [{"from": "human", "value": f"question {n}"}, {"from": "gpt", "value": f"answer {n}"}]
    human = f"\n\nHuman: question {n}\n\nAssistant:"
    return {
        "pair": {"prompt": f"question {n}", "chosen": "good", "rejected": "bad", "tools": [call]},
        "chat": {"prompt": talk[:2], "chosen": talk[2:], "rejected": [turn("assistant", "bad")]},
        "whole": {"prompt": f"question {n}", "chosen": talk, "rejected": [*talk[:2], turn("assistant", "bad")]},
        "calls": {"messages": [*talk[:2], turn("assistant", None, tool_calls=[call]), turn("tool", "5"), talk[2]]},
        "parts": {"messages": [turn(r, [{"type": "text", "text": f"{r} {n}"}]) for r in ("user", "assistant")]},
        "hh": {"chosen": f"{human} good", "rejected": f"{human} bad"},
        "llmbar": {"input": f"question {n}", "output_1": "good", "output_2": "bad", "label": 1},
        "ranking": {"prompt": f"question {n}", "responses": ["a", "b", "c"], "scores": [0.5, 0.25, 1]},
        "kto": {"prompt": f"question {n // 2}", "completion": f"answer {n}", "label": n % 2 == 0},
        "alpaca": {"instruction": f"question {n}", "input": "of two", "output": "answer", "history": [["a", "b"]]},
        "sharegpt": {"conversations": said, "system": "brief"},
        "best_of_n": {"prompt": f"question {n}", "candidates": [{"proxy": 0.5, "gold": 1}, {"proxy": 1, "gold": 0}]},
    }


def jsonl(rows: Rows) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def parquet(rows: Rows) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def csv(rows: Rows) -> bytes:
    cells = [list(rows[0]), *([json.dumps(value) for value in row.values()] for row in rows)]
    return "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in cells).encode()


def zipped(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("data.jsonl", content)
    return sink.getvalue()


WRITERS: dict[str, Callable[[Rows], bytes]] = {
    "jsonl": jsonl,
    "json": lambda rows: json.dumps(rows, indent=1).encode(),
    "parquet": parquet,
    "csv": csv,
    "jsonl.gz": lambda rows: gzip.compress(jsonl(rows)),
}
WRONG: list[Any] = [
    None, True, 3, 10**400, 0.5, float("nan"), float("inf"), "", " ", "text", "\ud800", [], [[]], {}, {"role": 3},
    [None], ["a", 3], [{"role": "user"}], [{"role": "assistant", "content": [{"type": "image", "url": "x"}]}],
    [[["a"] * 3]], [turn("assistant", None)], [turn("assistant", "b", tool_calls=[{}])],
    [turn("user", "a"), turn("user", "b")],
    [{"from": "gpt"}, {"from": "nobody", "value": "x"}], [{"from": None, "value": {}}], {"a": {"b": [1, {"c": None}]}},
]  # fmt: skip


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 3, 20])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def swapped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    i, j = rng.randrange(len(changed)), rng.randrange(len(changed))
    changed[i], changed[j] = changed[j], changed[i]
    return bytes(changed)


def blanked(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + bytes(len(content[start : start + 40])) + content[start + 40 :]


def encoded(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("latin-1")
    coding = rng.choice(["utf-16", "utf-16-be", "utf-32", "utf-8-sig", "cp500", "utf-7"])
    return text.encode(coding)


def contained(content: bytes, rng: random.Random) -> bytes:
    wrap: Callable[[bytes], bytes] = rng.choice(
        [gzip.compress, bz2.compress, lzma.compress, zipped, lambda c: b"<html>" + c, lambda c: b"[" * 99_999 + c]
    )
    return wrap(content)


DAMAGE = [cut, flipped, swapped, blanked, encoded, contained]


def damaged_files(rng: random.Random) -> Iterator[tuple[str, str, bytes]]:
    """(form, extension, content): damage to the bytes, for all forms and kinds of files in turn, then to the fields."""
    names = list(forms(0))
    for i in range(120):
        name, kind = names[i % len(names)], list(WRITERS)[i % len(WRITERS)]
        content = WRITERS[kind]([forms(n)[name] for n in range(12)])
        yield name, kind, DAMAGE[i % len(DAMAGE)](content, rng) if i % 7 else DAMAGE[rng.randrange(6)](content, rng)
    fields = [(name, field) for name, row in forms(0).items() for field in row]
    for i in range(len(fields) * 3):
        name, field = fields[i % len(fields)]
        rows = [forms(n)[name] for n in range(12)]
        for row in rows[:: rng.choice([1, 11])]:
            row[field] = rng.choice(WRONG)
        yield name, "jsonl", json.dumps(rows[0]).encode() + b"\n" + b"\n".join(json.dumps(r).encode() for r in rows[1:])


def readers(name: str, path: Path) -> list[Callable[[], object]]:
    """Everything that reads such a file, each as a stage or a command would."""
    if name == "best_of_n":
        return [lambda: read_scored_set([path], None)]
    tasks = [Local(path=str(path), prompt_style=style, holdout=0.5) for style in ("raw", "chat_template")]
    methods = ["demonstrations", "prompts", "preferences", "evaluation", "evaluation_preferences"]
    return [lambda t=task, m=method: getattr(t, m)(0, Dropped()) for task in tasks for method in methods]


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_is_wrong_with_a_file_it_is_read_or_refused_by_name(tmp_path: Path, seed: int) -> None:
    escaped: list[str] = []
    said: Counter[str] = Counter()
    count = 0
    for count, (name, kind, content) in enumerate(damaged_files(random.Random(seed)), start=1):
        path = tmp_path / f"{count}.{kind}"
        path.write_bytes(content)
        for read in readers(name, path):
            try:
                read()
                said["read"] += 1
            except UserError as error:
                said["refused"] += 1
                if str(path) not in str(error):
                    escaped.append(f"{name}.{kind} {count}: does not name the file: {error}")
            except Exception as error:
                escaped.append(f"{name}.{kind} {count}: {type(error).__name__}: {error}")
    assert count >= 200 and min(said["read"], said["refused"]) > 50
    assert escaped == []


@pytest.mark.parametrize("name", list(forms(0)))
@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "csv"])
def test_undamaged_they_are_read(tmp_path: Path, name: str, kind: str) -> None:
    if name == "best_of_n" and not kind.startswith("jsonl"):
        return
    path = tmp_path / f"a.{kind}"
    path.write_bytes(WRITERS[kind]([forms(n)[name] for n in range(12)]))
    if name == "best_of_n":
        assert len(read_scored_set([path], None).prompts) == 12
        return
    task = Local(path=str(path), prompt_style="chat_template", holdout=0.5)
    assert task.prompts(0, Dropped()) and task.demonstrations(0, Dropped())
    assert shards(path) == [path]
