"""Run directories that were damaged by chance, for everything that reads one; the same seed damages alike."""

from __future__ import annotations

import gzip
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import yaml

DEEP = "[" * 100_000
ODD: list[Any] = [
    *(None, True, False, -1, 0, 3, 2.5, 10**40, math.nan, math.inf, -math.inf, "", "x", "\n", "\ud800"),
    *([], {}, [None], [1, "x"], {"a": [1]}, {"step": "x"}, [[[[]]]], "2026-02-30T99:00:00", "../..", 2**63),
]
"""Values that a field may have after somebody was at it."""

Damage = Callable[[Path, random.Random], str]


def damage(run: Path, draw: random.Random) -> str:
    """One damage, said in words."""
    return draw.choice(DAMAGES)(run, draw)


def _info(run: Path, draw: random.Random) -> str:
    file = run / "run.json"
    info = json.loads(file.read_text())
    name = _alter(info, draw)
    file.write_text(json.dumps(info))
    return f"run.json: {name}"


def _lines(run: Path, draw: random.Random) -> str:
    file = draw.choice([path for path in run.glob("*.jsonl") if path.stat().st_size])
    lines = file.read_text().splitlines()
    number = draw.randrange(len(lines))
    row = json.loads(lines[number])
    name = _alter(row, draw) if draw.random() < 0.8 else "no object"
    broken = [DEEP, "{", "[]", "3", "", '{"step": 1, "step": 2}', '{"step": NaN}', "\0", '"x"']
    lines[number] = json.dumps(row) if name != "no object" else draw.choice(broken)
    file.write_text("\n".join(lines) + "\n")
    return f"{file.name}:{number + 1}: {name}"


def _config(run: Path, draw: random.Random) -> str:
    file = run / "config.yaml"
    config = yaml.safe_load(file.read_text())
    name = _alter(config, draw)
    text = json.dumps(config) if draw.random() < 0.7 else draw.choice(["- a", "3", "a: [", "\t", "a: " + DEEP, "a: *b"])
    file.write_text(text)
    return f"config.yaml: {name}" if text.startswith("{") else f"config.yaml is {text[:9]!r}"


def _pairs(run: Path, draw: random.Random) -> str:
    file = run / "pairs.jsonl.gz"
    if not file.exists():
        return _samples(run, draw)
    content = file.read_bytes()
    if draw.random() < 0.3:
        file.write_bytes(draw.choice([content[: draw.randrange(len(content))], gzip.decompress(content), b"", b"x"]))
        return "pairs: not whole, or not gzip"
    lines = gzip.decompress(content).decode().splitlines()
    number = draw.randrange(len(lines))
    row = json.loads(lines[number])
    name = _alter(row, draw)
    lines[number] = json.dumps(row) if draw.random() < 0.8 else draw.choice([DEEP, "{", "[]", "3"])
    file.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode("utf-8", "replace")))
    return f"pairs:{number + 1}: {name}"


def _samples(run: Path, draw: random.Random) -> str:
    files = sorted(run.glob("samples/*.parquet"))
    if not files:
        return _bytes(run, draw)
    file = draw.choice(files)
    table = pyarrow.parquet.read_table(file)
    if draw.random() < 0.5:
        name = draw.choice(table.column_names)
        odd = [
            [None] * len(table),
            ["x"] * len(table),
            [[1]] * len(table),
            [math.nan] * len(table),
            [10**9] * len(table),
        ]
        table = table.set_column(table.column_names.index(name), name, pyarrow.array(draw.choice(odd)))
    else:
        name = draw.choice(table.column_names)
        table = draw.choice([table.drop_columns([name]), table.slice(0, 0), pyarrow.table({"a": [1]})])
    pyarrow.parquet.write_table(table, file)
    return f"{file.name}: {name}"


def _bytes(run: Path, draw: random.Random) -> str:
    """Any file: cut, emptied, overwritten, removed, or a folder."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    file = draw.choice(files)
    content = bytearray(file.read_bytes())
    match draw.choice(["cut", "empty", "noise", "flip", "gone", "folder", "pointer", "link"]):
        case "cut":
            file.write_bytes(content[: draw.randrange(len(content) + 1)])
        case "empty":
            file.write_bytes(b"")
        case "noise":
            file.write_bytes(draw.randbytes(200))
        case "flip":
            for _ in range(3):
                content[draw.randrange(len(content)) :][:1] = b"\xff"
                content[draw.randrange(len(content))] ^= 255
            file.write_bytes(content)
        case "gone":
            file.unlink()
        case "folder":
            file.unlink()
            file.mkdir()
        case "pointer":
            file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        case "link":
            file.unlink()
            file.symlink_to("nowhere")
    return f"{file.relative_to(run)}: bytes"


def _checkpoint(run: Path, draw: random.Random) -> str:
    folders = [path for path in [*run.glob("checkpoints/*"), *run.glob("trainer/*")] if path.is_dir()]
    if not folders:
        return _bytes(run, draw)
    folder = draw.choice(folders)
    file = draw.choice(sorted(folder.iterdir()))
    match draw.choice(["json", "json", "json", "folder", "file", "name"]):
        case "folder":
            shutil.rmtree(folder)
        case "file":
            shutil.rmtree(folder)
            folder.write_text("")
        case "name":
            folder.rename(folder.with_name("step-99999"))
        case "json":
            file = draw.choice(sorted(folder.glob("*.json")))
            value = json.loads(file.read_text())
            name = _alter(value, draw)
            file.write_text(json.dumps(value))
            return f"{file.relative_to(run)}: {name}"
    return f"{folder.relative_to(run)}"


def _whole(run: Path, draw: random.Random) -> str:
    file = draw.choice([run / "run.json", run / "config.yaml"])
    file.write_text(
        draw.choice([DEEP, "[]", "null", "3", "{}", '{"schema_version": 1}', '{"schema_version": true}', "\0"])
    )
    return f"{file.name}: another document"


DAMAGES: list[Damage] = [
    *(_info, _info, _lines, _lines, _lines, _config, _config, _pairs, _samples, _bytes, _bytes, _checkpoint, _whole)
]


def _alter(tree: Any, draw: random.Random) -> str:
    """Somewhere in a tree of dicts and lists: another value, none, or another name; where that was."""
    keys = sorted(tree, key=str) if isinstance(tree, dict) else list(range(len(tree)))
    if not keys:
        if isinstance(tree, dict):
            tree["x"] = draw.choice(ODD)
        else:
            tree.append(draw.choice(ODD))
        return "x"
    key = draw.choice(keys)
    if isinstance(tree[key], dict | list) and draw.random() < 0.5:
        return f"{key}.{_alter(tree[key], draw)}"
    choice = draw.random()
    if choice < 0.25:
        del tree[key]
        return f"{key} gone"
    if choice < 0.35 and isinstance(tree, dict):
        tree[f"{key} "] = tree.pop(key)
        return f"{key} renamed"
    tree[key] = draw.choice(ODD)
    return f"{key} = {tree[key]!r}"
