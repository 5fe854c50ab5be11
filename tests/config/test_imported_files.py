"""Which files belong to a plug-in."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from overopt.config import plugins
from overopt.config.imported_files import imported_files


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


HELPERS = {
    "helper.py": "from deep.er import thing\nimport mine\n",
    "deep/__init__.py": "",
    "deep/er.py": "from . import beside\nfrom .below.bottom import thing\n",
    "deep/beside.py": "broken(",  # its import will tell
    "deep/below/bottom.py": "thing = 1\n",
    "unused.py": "",
}


def test_a_file_and_what_it_imports_from_beside_it(tmp_path: Path) -> None:
    mine = "try: from .. import above\nexcept ImportError: import json, numpy, overopt.types\n"
    mine += "def fn(prompts, completions, **columns):\n    import helper, absent\n"
    write(tmp_path, {"mine.py": mine, **HELPERS})
    found = imported_files(plugins.module_of(f"{tmp_path / 'mine.py'}:fn"))
    used = {"mine.py", *HELPERS} - {"unused.py"}
    assert found == {name: tmp_path / name for name in used}


def test_a_module_by_its_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {"mypackage_x/__init__.py": "", "mypackage_x/a/mine.py": "from ..b import c\nimport yaml\n"})
    write(tmp_path, {"mypackage_x/a/__init__.py": "", "mypackage_x/b/__init__.py": "", "mypackage_x/b/c.py": ""})
    found = imported_files(importlib.import_module("mypackage_x.a.mine"))
    names = ("__init__", "a/__init__", "a/mine", "b/__init__", "b/c")
    assert sorted(found) == [f"mypackage_x/{name}.py" for name in names]
    assert imported_files(importlib.import_module("mypackage_x")) == {
        "mypackage_x/__init__.py": tmp_path / "mypackage_x/__init__.py"
    }
    for name in [name for name in sys.modules if name.startswith("mypackage_x")]:
        del sys.modules[name]


def test_what_was_installed_is_not_followed() -> None:
    assert list(imported_files(importlib.import_module("yaml"))) == ["yaml/__init__.py"]
    assert imported_files(sys) == {}
