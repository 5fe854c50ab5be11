"""Reads YAML by the rules of version 1.2, with the line of every value; writes YAML that 1.1 and 1.2 readers agree on.

PyYAML follows YAML 1.1, where `1e-3` is text and `no` is false: a learning rate would be a string, a name a boolean.
Only the core schema is read (mappings, lists, text, numbers, true/false, null); other tags are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Address = tuple[str | int, ...]
"""Keys and list positions from the root down to a value."""

MOST_VALUES = 1_000_000
"""Limit on the number of values: a few nested aliases can expand to more than memory holds."""
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CORE_SCHEMA = {  # in this order: `1` is an integer before it is a float
    "null": re.compile(r"null|Null|NULL|~|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": _INT,
    "float": _FLOAT,
}


class YamlError(Exception):
    """The text is not YAML; `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        self.line = line
        self.problem = problem
        super().__init__(f"line {line}: {problem}")


@dataclass(frozen=True)
class Document:
    """A YAML document as plain values, with the line (from 1) of each address, and its recoverable problems."""

    tree: Any
    lines: dict[Address, int] = field(default_factory=dict)
    problems: list[tuple[Address, int, str]] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """A loader without the implicit types of YAML 1.1."""


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes text which looks like a value to YAML 1.1 or 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern in _CORE_SCHEMA.items():
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Loader.add_implicit_resolver(_TAG + _name, _whole, None)
    _Dumper.add_implicit_resolver(_TAG + _name, _whole, None)


def parse(text: str) -> Document:
    """Read one YAML document. Duplicate keys are listed in `problems`, and the first one counts."""
    try:
        return _parse(text)
    except RecursionError:
        raise YamlError(1, "brackets or blocks nested too deep") from None


def _parse(text: str) -> Document:
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, error.problem or error.context or "not YAML") from error
    except yaml.reader.ReaderError as error:
        raise YamlError(text[: error.position].count("\n") + 1, f"{error.reason}") from error
    if root is None:
        return Document(None)
    document = Document({}, {}, [])
    return Document(_build(root, (), document, ()), document.lines, document.problems)


def write(tree: Any) -> str:
    """Write plain values as YAML: one key per line, lists and blocks of plain values on one line."""
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100))


def _build(node: yaml.Node, address: Address, document: Document, parents: tuple[yaml.Node, ...]) -> Any:
    line = node.start_mark.line + 1
    document.lines.setdefault(address, line)
    if len(document.lines) > MOST_VALUES:
        raise YamlError(line, f"more than {MOST_VALUES:,} values, or aliases that stand for as many")
    if node in parents:
        raise YamlError(line, "an alias refers to the block it stands in")
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        return _build_mapping(node, address, document, parents)
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        return [_build(item, (*address, i), document, (*parents, node)) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, line)
    raise YamlError(line, f"the tag {node.tag!r} means nothing here")


def _build_mapping(
    node: yaml.MappingNode, address: Address, document: Document, parents: tuple[yaml.Node, ...]
) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise YamlError(line, "a key must be plain text")
        key = str(key_node.value)
        if key in tree:
            first = document.lines[(*address, key)]
            document.problems.append(((*address, key), line, f"duplicate key, first given on line {first}"))
            continue
        document.lines[(*address, key)] = line
        tree[key] = _build(value_node, (*address, key), document, (*parents, node))
    return tree


def _scalar(node: yaml.ScalarNode, line: int) -> Any:
    text, kind = str(node.value), node.tag.removeprefix(_TAG)
    if kind == "str":
        return text
    pattern = _CORE_SCHEMA.get(kind)
    if pattern is None or not pattern.fullmatch(text):
        raise YamlError(line, f"{text!r} cannot be read as {node.tag!r}")
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    try:
        value = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        str(value)
    except ValueError as error:  # Python refuses integers of thousands of digits, some only when they are written
        raise YamlError(line, "an integer with too many digits") from error
    return value
