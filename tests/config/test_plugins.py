"""Classes from a file beside a YAML and from importable modules, and what is said of those that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from overopt.config import plugins

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
