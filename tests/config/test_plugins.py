"""Classes from a file beside a YAML and from importable modules, and what is said of those that are not there."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Protocol

import pytest

from overopt.config import Choice, block, load, plugins
from overopt.errors import ConfigError

MINE = """
from __future__ import annotations
from overopt.config import block

@block
class Mine:
    k: int = 3

class Plain:
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_a_file_beside_the_yaml_is_found_first(folder: Path) -> None:
    name = plugins.located("mine:Mine", folder)
    assert name == f"{folder}/mine.py:Mine"
    cls = plugins.find(name)
    assert cls().k == 3
    assert plugins.file_of(cls) == f"{folder}/mine.py"
    assert plugins.find(name) is cls  # loaded once


def test_a_written_file_is_made_absolute_whether_it_exists_or_not(folder: Path) -> None:
    assert plugins.located("../other.py:Mine", folder) == f"{folder.parent}/other.py:Mine"


def test_other_names_are_modules() -> None:
    assert plugins.located("no_such_file:Mine", Path("/")) == "no_such_file:Mine"


def test_an_importable_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "importable_plugin.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(folder))
    cls = plugins.find("importable_plugin:Mine")
    assert cls.__module__ == "importable_plugin"
    assert plugins.file_of(cls) is None


def test_errors_say_what_is_missing(folder: Path) -> None:
    file = f"{folder}/mine.py"
    with pytest.raises(LookupError, match="has no class 'Mien' .did you mean 'Mine'. valid: Mine"):
        plugins.find(f"{file}:Mien")
    with pytest.raises(LookupError, match="is not decorated with @overopt.config.block"):
        plugins.find(f"{file}:Plain")
    with pytest.raises(LookupError, match="cannot load 'no_such_module': ModuleNotFoundError"):
        plugins.find("no_such_module:Mine")
    with pytest.raises(LookupError, match="cannot load .*gone.py': FileNotFoundError"):
        plugins.find(f"{folder}/gone.py:Mine")


def test_a_file_that_fails_can_be_mended_and_loaded(folder: Path) -> None:
    file = folder / "mended.py"
    file.write_text("1 / 0")
    with pytest.raises(LookupError, match="ZeroDivisionError"):
        plugins.find(f"{file}:Mine")
    file.write_text(MINE + "\n# longer, so that no cached bytecode fits\n")
    assert plugins.find(f"{file}:Mine")().k == 3


# Functions

FUNCTIONS = """
def fn(prompts, completions, **columns):
    return [0.0] * len(completions)

def by_place(prompts, /, completions, **columns):
    return []

def closed(prompts, completions):
    return []

def hungry(completions, solution, *, tests, hint=None, **columns):
    return []

class Scorer:
    def __call__(self, prompts, completions, **columns):
        return []

scorer = Scorer()
text = "no function"
"""


@pytest.fixture
def functions(tmp_path: Path) -> str:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return f"{tmp_path}/functions.py"


def test_a_function_is_found_beside_the_yaml(functions: str) -> None:
    name = plugins.located("functions:fn", Path(functions).parent)
    assert name == f"{functions}:fn"
    assert plugins.find_function(name)([], ["a", "b"]) == [0.0, 0.0]
    assert plugins.find_function(f"{functions}:scorer")([], []) == []


def test_the_columns_a_function_cannot_do_without(functions: str) -> None:
    assert plugins.required_columns(f"{functions}:fn") == set()
    assert plugins.required_columns(f"{functions}:hungry") == {"solution", "tests"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fnn", "has no function 'fnn' .did you mean 'fn'. valid: fn, by_place, closed, hungry"),
        ("text", "is no function, but str"),
        ("closed", "must take .prompts, completions, ..columns.; it lacks ..columns"),
        ("by_place", "must take .prompts, completions, ..columns. by name"),
    ],
)
def test_what_is_no_function_of_that_form(functions: str, name: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        plugins.find_function(f"{functions}:{name}")


def test_a_function_needs_its_module() -> None:
    with pytest.raises(LookupError, match="expected a function as my_module:fn, got 'fn'"):
        plugins.find_function("fn")
    with pytest.raises(LookupError, match="cannot load 'no_such_module': ModuleNotFoundError"):
        plugins.find_function("no_such_module:fn")


# A class from elsewhere that is of another kind


class Operation(Protocol):
    separable: bool = True

    @property
    @abstractmethod
    def size(self) -> int: ...

    @abstractmethod
    def __call__(self) -> float: ...


@block
class Add(Operation):
    def __call__(self) -> float:
        return 0.0

    @property
    def size(self) -> int:
        return 1


@block
class Multiply(Add):
    factor: float = 2.0


@block
class Sum:
    operation: Annotated[Add | Multiply, Choice(Operation)] = Add()


def test_a_class_of_another_kind_is_refused_with_what_it_lacks(folder: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(Sum, {"operation": "mine:Mine"}, base=folder)
    what = f"lacks __call__(), size ({__name__}.Operation says what such a class has)"
    assert str(error.value) == f"operation: '{folder}/mine.py:Mine' {what}"


def test_a_class_of_the_kind_is_taken_and_need_not_describe_itself(folder: Path) -> None:
    (folder / "good.py").write_text(
        MINE
        + """
@block
class Good(Mine):
    separable = True
    size = 3
    def __call__(self):
        return 1.0
"""
    )
    assert load(Sum, {"operation": "good:Good"}, base=folder).operation.k == 3


def test_a_file_that_was_edited_is_loaded_anew_with_the_next_configuration(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    head = "def fn(prompts, completions, **columns):\n    return "
    file.write_text(head + "[1.0]")
    name = f"{file}:fn"
    assert plugins.find_function(name)([], []) == [1.0]
    file.write_text(head + "[2.0, 2.0]")
    assert plugins.find_function(name)([], []) == [1.0]  # a run that goes on keeps what it began with
    plugins.forget_edited()
    assert plugins.find_function(name)([], []) == [2.0, 2.0]


def test_a_module_that_a_plug_in_imports_is_loaded_anew_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited_helper.py").write_text("VALUE = 1.0\n")
    (tmp_path / "mine.py").write_text(
        "from edited_helper import VALUE\ndef fn(prompts, completions, **columns):\n    return [VALUE]\n"
    )
    name = f"{tmp_path / 'mine.py'}:fn"
    assert plugins.find_function(name)([], []) == [1.0]
    (tmp_path / "edited_helper.py").write_text("VALUE = 2.0 + 1.0\n")
    (tmp_path / "other_plug_in.py").write_text("def fn(prompts, completions, **columns):\n    return []\n")
    other = plugins.find_function("other_plug_in:fn")
    plugins.forget_edited()
    assert plugins.find_function(name)([], []) == [3.0]
    assert plugins.find_function("other_plug_in:fn") is other  # nothing of it was edited
