"""The dictionary of objectives as text: a table of all objectives, or a page for one."""

from __future__ import annotations

import textwrap
from itertools import groupby

from overopt.config.describing import shown_default
from overopt.objectives.dictionary import WHERE, Entry, find_objectives, split_docstring, translation

WIDTH = 110


def table() -> str:
    """Return every objective's name and formula, grouped by kind."""
    lines = []
    rows = [row for row, _ in find_objectives()]
    width = max(len(row["name"]) for row in rows) + 2
    for kind, group in groupby(rows, key=lambda row: str(row["kind"])):
        lines += ["", f"{kind}  ({WHERE[kind]})"]
        for row in group:
            lines += _wrap_after(f"  {row['name']:{width}}", row["formula"])
    return "\n".join(lines[1:]) + "\n\noveropt objectives NAME shows one; with --json as data."


def page(name: str) -> str:
    """Return everything about a name, which objectives of several kinds may share."""
    return "\n\n".join(_page(row, cls) for row, cls in find_objectives(name))


def _page(row: Entry, cls: type) -> str:
    first, rest = split_docstring(cls)
    lines = [f"{row['name']}  ({row['kind']}; {WHERE[row['kind']]})", ""]
    lines += textwrap.wrap(first, WIDTH)
    lines += ["", *_wrap_after("  ", row["formula"]), ""]
    if rest:
        lines += [rest, ""]
    lines += _fields(row)
    lines += _wrap_after("needs   ", ", ".join(row["needs"]) or "nothing more")
    lines += _wrap_after("source  ", row["source"])
    lines += ["elsewhere"] if row["elsewhere"] else ["elsewhere: not found, or not the same"]
    for library, words in row["elsewhere"].items():
        lines += _wrap_after(f"  {library:10}", translation(library, words))
    return "\n".join(lines)


def _fields(row: Entry) -> list[str]:
    if not row["fields"]:
        return ["no fields", ""]
    lines = ["fields"]
    for field in row["fields"]:
        default = f", default {shown_default(field)}" if "default" in field else ""
        doc = f": {field['doc']}" if field["doc"] else ""
        lines += _wrap_after(f"  {field['name']:24}", f"{field['type']}{default}{doc}")
    return [*lines, ""]


def _wrap_after(head: str, text: str) -> list[str]:
    """Wrap text after a head; further lines are indented to where the first begins."""
    indent = " " * len(head)
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=indent, break_long_words=False) or [head]
