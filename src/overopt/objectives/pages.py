"""The dictionary of objectives as text: a table of all objectives, or a page for one."""

from __future__ import annotations

import textwrap
from itertools import groupby

from overopt.config.describing import shown_default
from overopt.objectives.dictionary import WHERE, Entry, about, found, translation

WIDTH = 110


def table() -> str:
    """Return every objective's name and formula, grouped by kind."""
    lines = []
    rows = [row for row, _ in found()]
    width = max(len(row["name"]) for row in rows) + 2
    for kind, group in groupby(rows, key=lambda row: str(row["kind"])):
        lines += ["", f"{kind}  ({WHERE[kind]})"]
        for row in group:
            lines += _hanging(f"  {row['name']:{width}}", row["formula"])
    return "\n".join(lines[1:]) + "\n\noveropt objectives NAME shows one; with --json as data."


def page(name: str) -> str:
    """Return everything about a name, which objectives of several kinds may share."""
    return "\n\n".join(_page(row, cls) for row, cls in found(name))


def _page(row: Entry, cls: type) -> str:
    first, rest = about(cls)
    lines = [f"{row['name']}  ({row['kind']}; {WHERE[row['kind']]})", ""]
    lines += textwrap.wrap(first, WIDTH)
    lines += ["", *_hanging("  ", row["formula"]), ""]
    if rest:
        lines += [rest, ""]
    lines += _fields(row)
    lines += _hanging("needs   ", ", ".join(row["needs"]) or "nothing more")
    lines += _hanging("source  ", row["source"])
    lines += ["elsewhere"] if row["elsewhere"] else ["elsewhere: not found, or not the same"]
    for library, words in row["elsewhere"].items():
        lines += _hanging(f"  {library:10}", translation(library, words))
    return "\n".join(lines)


def _fields(row: Entry) -> list[str]:
    if not row["fields"]:
        return ["no fields", ""]
    lines = ["fields"]
    for field in row["fields"]:
        default = f", default {shown_default(field)}" if "default" in field else ""
        doc = f": {field['doc']}" if field["doc"] else ""
        lines += _hanging(f"  {field['name']:24}", f"{field['type']}{default}{doc}")
    return [*lines, ""]


def _hanging(head: str, text: str) -> list[str]:
    """Wrap text after a head; further lines are indented to where the first begins."""
    indent = " " * len(head)
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=indent, break_long_words=False) or [head]
