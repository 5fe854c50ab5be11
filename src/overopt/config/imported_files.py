"""The source files of a plug-in: its own, and all that it imports from the user's folders.

Import statements are parsed rather than loaded modules listed, since an import within a function may not have run yet.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

Files = dict[str, Path]


def imported_files(module: ModuleType) -> Files:
    """Return the module's file and all that it imports from the user's folders, transitively, by path in its folder."""
    own = getattr(module, "__file__", None)
    if own is None:
        return {}
    parts = module.__name__.split(".") if not module.__name__.endswith(".py") else []  # else it was loaded as a file
    depth = len(parts) if Path(own).stem == "__init__" else max(len(parts) - 1, 0)
    root = Path(own).parents[depth]
    found: Files = {}
    waiting = [(root, Path(own)), *_files(parts, root)]
    while waiting:
        root, file = waiting.pop()
        name = file.relative_to(root).as_posix()
        if name not in found:
            found[name] = file
            waiting += [] if _is_installed(root) else _imported(root, file)
    return found


def _imported(root: Path, file: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files that a file's import statements name, each with the folder that its dotted name starts from."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # importing it will raise the error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name.split("."), _root(alias.name, root))
        elif isinstance(node, ast.ImportFrom) and node.level:
            if node.level > len(file.relative_to(root).parts):
                continue  # beyond the top, as in `try: from .. import a`, `except ImportError: import a`
            package = file.parents[node.level - 1].relative_to(root).parts
            for alias in node.names:
                yield from _files([*package, *(node.module or "").split("."), alias.name], root)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield from _files([*str(node.module).split("."), alias.name], _root(str(node.module), root))


def _root(name: str, importer: Path) -> Path | None:
    """Return the user's folder that an absolute import starts from; None for installed packages and overopt itself."""
    top = name.partition(".")[0]
    if top == "overopt" or top in sys.stdlib_module_names:
        return None
    loaded = getattr(sys.modules.get(top), "__file__", None)
    if loaded is not None:
        place = Path(loaded).parents[1 if Path(loaded).stem == "__init__" else 0]
        return None if _is_installed(place) else place
    places = [importer, *(Path(entry or ".").resolve() for entry in sys.path)]
    return next((p for p in places if _is_module(p / top) and not _is_installed(p)), None)


def _is_module(path: Path) -> bool:
    return path.is_dir() or path.with_name(f"{path.name}.py").is_file()


def _is_installed(folder: Path) -> bool:
    standard = Path(sysconfig.get_path("stdlib"))
    return bool({"site-packages", "dist-packages"} & set(folder.parts)) or folder.is_relative_to(standard)


def _files(parts: list[str], root: Path | None) -> Iterator[tuple[Path, Path]]:
    """Yield the files of a dotted name: of its packages and its module; the last part may be a name in that module."""
    if root is None:
        return
    place = root
    for part in filter(None, parts):
        module, package = place / f"{part}.py", place / part / "__init__.py"
        if package.is_file():
            yield root, package
        elif module.is_file():
            yield root, module
            return
        place = place / part
