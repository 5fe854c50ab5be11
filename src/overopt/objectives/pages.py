"""The dictionary of objectives as text: a table of all, a page of one."""

from __future__ import annotations

import textwrap
from itertools import groupby

from overopt.config.describing import shown_default
from overopt.objectives.dictionary import WHERE, Entry, about, found, translation

WIDTH = 110


def table() -> str:
    """Every objective by kind: its name, and its formula."""
    lines = []
    rows = [row for row, _ in found()]
    width = max(len(row["name"]) for row in rows) + 2
    for kind, group in groupby(rows, key=lambda row: str(row["kind"])):
        lines += ["", f"{kind}  ({WHERE[kind]})"]
        for row in group:
            lines += _hanging(f"  {row['name']:{width}}", row["formula"])
    return "\n".join(lines[1:]) + "\n\noveropt objectives NAME shows one; with --json as data."


def page(name: str) -> str:
    """All that is known of a name; one name may stand for objectives of several kinds."""
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
    """Wrapped text behind a head, its further lines below its first."""
    indent = " " * len(head)
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=indent, break_long_words=False) or [head]
