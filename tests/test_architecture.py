"""The rules that hold the house together: imports point down only, every file has its tests, `--help` is quick."""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "overopt"
FILES = sorted(SOURCE.rglob("*.py"))

GROUND = {
    "types", "errors", "addresses", "config", "hub", "pinning", "records", "statistics", "datafiles", "redaction",
    "spooled", "text_table",
}  # fmt: skip
"""Rooms that import nothing of ours but `errors`; `config`, `hub` and `records` also build on others of them."""

ALLOWED = {
    **{room: {"errors"} for room in GROUND},
    "config": {"addresses", "hub", "errors"},
    "pinning": {"config", "hub", "errors"},
    "hub": {"records", "datafiles", "redaction", "errors"},
    "records": {"datafiles", "errors"},
    "outcomes": {"records", "statistics", "errors"},
    "stopping": {"config", "records", "statistics", "outcomes", "errors"},
    "integrations": {"config", "records", "errors"},
    "objectives": {"types", "config", "errors"},
    "theory": {"types", "config", "objectives", "errors", "text_table"},
    "engine": {"types", "config", "objectives", "errors"},
    "tasks": {"types", "spooled", "config", "hub", "errors", "datafiles"},
    "models": GROUND | {"objectives", "engine", "tasks"},
    "evaluation": GROUND | {"outcomes", "objectives", "engine", "tasks", "models"},
    "vllm": {"config", "redaction", "errors", "engine", "models", "evaluation"},
    "training": GROUND
    | {"outcomes", "objectives", "engine", "tasks", "models", "evaluation", "vllm", "stopping", "integrations"},
    "planning": GROUND | {"objectives", "engine", "tasks", "models", "evaluation", "training"},
    "scheduler": GROUND | {"outcomes", "objectives", "engine", "tasks", "models", "evaluation", "training", ""},
    "analysis": {"records", "redaction", "statistics", "outcomes", "errors", "addresses", "datafiles", "text_table"},
    "replication": GROUND - {"types", "addresses", "hub", "pinning"} | {"outcomes", "analysis", "theory"},
    "studies": GROUND | {"outcomes", "tasks", "evaluation", "training", "scheduler", "analysis", "replication"},
    "cli": GROUND
    | {
        "outcomes",
        "evaluation",
        "training",
        "planning",
        "scheduler",
        "engine",
        "analysis",
        "studies",
        "replication",
        "theory",
        "objectives",
        "integrations",
        "models",
        "",
    },
    "": {"training", "records"},  # overopt/__init__.py offers train and load_run, imported on first use
    "__main__": {"cli"},
}
"""Room -> the rooms it may import. "" is the package itself (its version)."""

WITHOUT_TORCH = {*GROUND, "outcomes", "stopping", "integrations", "tasks", "analysis"}
TRANSFORMERS = {"models"}
"""The only room that knows transformers."""
HUB = {"hub"}
"""The only room that knows huggingface_hub and datasets."""


def room(path: Path) -> str:
    """The first part of a file's path in the package; "" for the package's own file."""
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


@functools.cache
def imported(path: Path, at_run_time: bool = False) -> frozenset[str]:
    """Absolute names of everything that a file imports, also inside functions.

    What only a type checker imports is left out `at_run_time`.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def module(path: Path) -> str:
    """The name under which a file is imported."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def files_imported(path: Path) -> set[Path]:
    """The files of ours that a file takes names from: of `from a.b import c` the file of `a.b.c`, else of `a.b`."""
    found = set()
    for name in imported(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        if name:
            found.add(MODULES[name])
    return found - {path}


def rooms_imported(path: Path) -> set[str]:
    """The rooms of ours that a file imports; "" if it takes something from the package itself."""
    rooms = {room(path) for path in FILES}
    parts = [name.split(".") for name in imported(path) if name.split(".")[0] == "overopt"]
    return {p[1] if len(p) > 1 and p[1] in rooms else "" for p in parts}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    assert here in ALLOWED, f"a new room: say in ALLOWED what {here!r} may import"
    upward = rooms_imported(path) - ALLOWED[here] - {here}
    assert not upward, f"{path.relative_to(ROOT)} may not import {sorted(upward)}"


def test_the_levels_have_no_cycle() -> None:
    done: set[str] = set()
    waiting = {here: {below for below in allowed if below} - {here} for here, allowed in ALLOWED.items() if here}
    while ready := {here for here, below in waiting.items() if below <= done | {"errors"}}:
        done |= ready
        waiting = {here: below for here, below in waiting.items() if here not in ready}
    assert not waiting


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Also within a room, and also what only a type checker imports: a circle is read as one file."""
    waiting = {path: files_imported(path) for path in FILES}
    while ready := {path for path, below in waiting.items() if not below & waiting.keys()}:
        waiting = {path: below for path, below in waiting.items() if path not in ready}
    # What is left stands in a circle, or imports one that does.
    assert not sorted(str(path.relative_to(SOURCE)) for path in waiting)


def test_the_circle_test_sees_a_circle(tmp_path: Path) -> None:
    """What a type checker alone imports is an import."""
    file = tmp_path / "a.py"
    file.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from overopt.types import Rollouts\n")
    assert files_imported(file) == {SOURCE / "types.py"}
    file = tmp_path / "b.py"
    file.write_text("def f():\n    from overopt.records import load_run\n")
    assert files_imported(file) == {SOURCE / "records" / "__init__.py"}


READS = {"open", "read_text", "read_bytes", "glob", "rglob", "iterdir", "read_table", "load", "loads"}
"""Functions and methods that take something from a disk or decode it."""


@pytest.mark.parametrize(
    "path", [path for path in FILES if room(path) == "analysis"], ids=lambda path: str(path.relative_to(SOURCE))
)
def test_analysis_reads_by_records_alone(path: Path) -> None:
    """The user's data come by `datafiles`; the package's own files, such as the page's template, lie `HERE`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    reads = [ast.unparse(call) for call in calls if ast.unparse(call.func).rpartition(".")[2] in READS]
    assert not [call for call in reads if "HERE /" not in call and "os.devnull" not in call]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_torch_transformers_and_the_hub_stay_in_their_rooms(path: Path) -> None:
    packages = {name.split(".")[0] for name in imported(path, at_run_time=True)}
    if room(path) in WITHOUT_TORCH:
        assert "torch" not in packages
    if room(path) not in TRANSFORMERS:
        assert "transformers" not in packages
    if room(path) not in HUB:
        assert not packages & {"huggingface_hub", "datasets"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_file_has_its_tests(path: Path) -> None:
    """`a/b.py` is tested in `tests/a/test_b.py`; an `__init__.py` with more than imports in `tests/a/test_a.py`."""
    inside = path.relative_to(SOURCE)
    name = inside.stem
    if name == "__init__":
        body = ast.parse(path.read_text(encoding="utf-8")).body
        if not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body):
            return
        name = inside.parent.name or "package"
    twin = ROOT / "tests" / inside.parent / f"test_{name}.py"
    assert twin.is_file(), f"{path.relative_to(ROOT)} needs {twin.relative_to(ROOT)}"


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path in FILES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


def tracked_files() -> list[Path]:
    """Text files of the checkout that are not generated."""
    folders = ["src", "tests", "examples", "bench", "docs", ".ci"]
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    paths += [path for path in ROOT.iterdir() if path.is_file()]
    return [path for path in paths if path.suffix in (".py", ".md", ".yaml", ".toml", ".txt", ".cff", "")]


def test_no_path_of_one_machine() -> None:
    """Nothing of the place where the code was written is in it: no absolute path of a home or a work folder."""
    forbidden = ["/" + name + "/" for name in ("work", "home", "root", "Users")]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked_files()
        for word in forbidden
        if word in path.read_text(encoding="utf-8", errors="replace").replace("/usr/bin/env", "")
    ]
    assert not found


def test_help_imports_nothing_heavy() -> None:
    program = """
import contextlib, io, json, sys
from overopt.cli import main
out = io.StringIO()
with contextlib.redirect_stdout(out):
    try:
        main(["--help"])
    except SystemExit as stop:
        assert not stop.code, stop.code
print(json.dumps({"help": out.getvalue(), "modules": sorted(sys.modules)}))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    answer = json.loads(done.stdout)
    assert "demo" in answer["help"]
    assert "train" in answer["help"]
    heavy = {"torch", "transformers", "huggingface_hub", "numpy", "pandas", "pyarrow", "scipy", "altair", "pydantic"}
    assert not heavy & set(answer["modules"])
