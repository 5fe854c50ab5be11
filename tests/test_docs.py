"""The documentation covers what there is: a typeset formula for every objective, a page for every family, no more."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from overopt.cli.parser import parse
from overopt.objectives.dictionary import UNIONS, dictionary
from overopt.records.legend import METRICS
from overopt.studies.planning import study_file
from overopt.training.stages import STAGES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *sorted((ROOT / "examples").rglob("*.md")), ROOT / "CONTRIBUTING.md"]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The module that writes the generated pages; docs/ is no package."""
    spec = importlib.util.spec_from_file_location("docs_reference", DOCS / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_objective_is_typeset_and_nothing_else(reference: ModuleType) -> None:
    typeset = {(kind, name) for kind, names in reference.formulas().items() for name in names}
    assert typeset == {(row["kind"], row["name"]) for row in dictionary()}


def test_formulas_are_balanced(reference: ModuleType) -> None:
    for names in reference.formulas().values():
        for name, latex in names.items():
            assert latex.count("{") == latex.count("}"), name
            assert len(re.findall(r"\\left\b", latex)) == len(re.findall(r"\\right\b", latex)), name
            for line in latex.split("\\\\ "):  # each line is set by itself
                assert line.count("{") == line.count("}"), name


def test_every_kind_is_on_one_page(reference: ModuleType) -> None:
    kinds = [kind for _, kinds in reference.FAMILIES.values() for kind in kinds]
    assert sorted(kinds) == sorted(UNIONS)


def test_pages_say_everything(reference: ModuleType, tmp_path: Path) -> None:
    reference.write(tmp_path / "reference")
    text = {path.stem: path.read_text("utf-8") for path in (tmp_path / "reference").glob("*.md")}
    for row in dictionary():
        (page,) = [name for name, (_, kinds) in reference.FAMILIES.items() if row["kind"] in kinds]
        assert f"# `{row['name']}`" in text[page]
        assert all(f"| `{field['name']}` |" in text[page] for field in row["fields"])
    for name, cls in STAGES.items():
        assert f"## `stage: {name}`" in text["configuration"]
        assert all(f"| `{field}` |" in text["configuration"] for field in cls.__pydantic_fields__)
    assert all(f"| `{name}` |" in text["records"] for name in METRICS)
    assert all(f"## `overopt {verb}`" in text["commands"] for verb in ("demo", "train", "objectives"))


def test_tables_have_as_many_cells_in_every_row(reference: ModuleType, tmp_path: Path) -> None:
    reference.write(tmp_path / "reference")
    for path in [*DOCS.glob("*.md"), *(tmp_path / "reference").glob("*.md")]:
        for block in re.findall(r"(?:^\|.*\n)+", path.read_text("utf-8"), re.MULTILINE):
            cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(cells) == 1, f"{path.name}: {block}"


def test_every_page_can_be_reached(reference: ModuleType, tmp_path: Path) -> None:
    reference.write(tmp_path / "reference")
    pages = {f"reference/{path.stem}" for path in (tmp_path / "reference").glob("*.md")}
    pages |= {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")} - {"index"}
    listed = re.findall(r"^[a-z_/]+$", (DOCS / "index.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(pages)


def test_a_page_of_earlier_code_is_removed(reference: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old")
    reference.write(tmp_path)
    assert not (tmp_path / "gone.md").exists()


def test_the_tree_shows_every_room() -> None:
    tree = (DOCS / "architecture.md").read_text("utf-8").split("```text\nsrc/overopt/\n")[1].split("```")[0]
    shown = re.findall(r"^  ([\w.]+)", tree, re.MULTILINE)
    there = [path for path in (ROOT / "src" / "overopt").iterdir() if not path.name.startswith(("_", "."))]
    assert sorted(shown) == sorted(path.name for path in there if path.name != "py.typed")
    assert all((ROOT / folder).is_dir() for folder in re.findall(r"^(\w+)/", tree, re.MULTILINE))


def test_every_import_points_down_the_tree() -> None:
    tree = (DOCS / "architecture.md").read_text("utf-8").split("```text\nsrc/overopt/\n")[1].split("\ndocs/")[0]
    rooms = [name.removesuffix(".py") for name in re.findall(r"^  ([\w.]+)", tree, re.MULTILINE)]
    upward = set()
    for path in (ROOT / "src" / "overopt").rglob("*.py"):
        here = path.relative_to(ROOT / "src" / "overopt").parts[0].removesuffix(".py")
        for there in re.findall(r"^ *(?:from|import) overopt\.(\w+)", path.read_text("utf-8"), re.MULTILINE):
            if here in rooms and rooms.index(there) < rooms.index(here):
                upward.add(f"{here} imports {there}")
    assert upward == set()


def test_every_file_and_name_of_the_walk_exists() -> None:
    rows = re.findall(
        r"^\| .* \| `([\w/]+\.py)` \| `([\w.]+)` \|$", (DOCS / "architecture.md").read_text("utf-8"), re.M
    )
    assert len(rows) > 40
    assert [row for row in rows if row[1] not in defined(ROOT / "src" / "overopt" / row[0])] == []


def defined(path: Path) -> set[str]:
    """The classes, functions and constants of a file, and the methods of its classes as CLASS.METHOD."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body if path.is_file() else []:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside = node.body if isinstance(node, ast.ClassDef) else []
            names |= {node.name} | {f"{node.name}.{method.name}" for method in inside if hasattr(method, "name")}
    return names


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_files_that_a_page_names_are_there(path: Path) -> None:
    """Those of the repository, in backticks; CONTRIBUTING.md also names the files of a loss that is to be written."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    named = re.findall(r"`((?:src|tests|docs|examples|bench)/[\w./-]*)`", text)
    missing = [name for name in named if not (ROOT / name).exists() and "exponential" not in name and "/a/" not in name]
    assert missing == []
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    generated = ("reference/", "#")
    assert [
        link for link in links if link and not link.startswith(generated) and not (path.parent / link).exists()
    ] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_of_a_page_are_understood(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["overopt"]:
                options = vars(parse(words[1:]))
                given = [options[key] for key in ("config", "file") if key in options]
                assert [name for name in given if not (ROOT / study_file(name)).is_file()] == []
            elif words[:1] == ["make"]:
                assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
