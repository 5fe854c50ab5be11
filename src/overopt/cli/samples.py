"""The records that `overopt show` prints: in a terminal tokens by shade and the loss by color, elsewhere as text."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from overopt.analysis.text import escape_controls

if TYPE_CHECKING:
    from overopt.planning.samples import Part, Piece, Shown

LINE_END = "⏎\n"
STYLES = {"": ("dim", "dim reverse"), "loss": ("green", "green reverse"), "score": ("yellow", "yellow reverse")}
"""By mark: the styles of every other token, so that their boundaries are seen."""
BEHIND = {"": "", "loss": ", in the loss", "score": ", the score is read here"}


def print_samples(shown: Sequence[Shown]) -> None:
    """Print records to the standard output."""
    if not sys.stdout.isatty():
        print("\n".join(line for one in shown for line in plain_lines(one)))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for one in shown:
        for line in colored_lines(one):
            console.print(line, soft_wrap=True)


def plain_lines(shown: Shown) -> Iterator[str]:
    """Lines without color: `|` stands before each token, and a heading before tokens that share a mark."""
    yield from _head(shown)
    for number, sample in enumerate(shown.samples, start=1):
        yield f"\n{number}. {escape_controls(sample.place)}"
        for part in sample.parts:
            for mark, group in groupby(part.pieces, key=lambda piece: piece.mark):
                pieces = list(group)
                yield f"  {part.name}{BEHIND[mark]}: {_tokens(pieces)}"
                text = "".join("|" + _visible(piece) for piece in pieces)
                yield from (f"    {line}" for line in text.removesuffix("\n").split("\n"))
    yield ""


def colored_lines(shown: Shown) -> Iterator[Any]:
    """Lines for a terminal, as `rich` prints them."""
    from rich.text import Text

    for line in _head(shown):
        yield Text(line, "bold" if line.startswith(shown.names[0]) else "")
    yield Text.assemble("tokens: ", ("no loss", "dim"), ", ", ("in the loss", "green"), ", ", ("score", "yellow"))
    for number, sample in enumerate(shown.samples, start=1):
        yield Text(f"\n{number}. {escape_controls(sample.place)}", "bold")
        for part in sample.parts:
            yield Text(f"  {part.name}: {_tokens(part.pieces)}")
            yield _colored(part)
    yield Text("")


def _colored(part: Part) -> Any:
    from rich.text import Text

    text = Text()
    for place, piece in enumerate(part.pieces):
        text.append(_visible(piece), STYLES[piece.mark][place % 2])
    return text


def _head(shown: Shown) -> list[str]:
    names = ", ".join(shown.names)
    lines = [f"{names}: stage {shown.stage}, {len(shown.samples)} of {shown.count:,} {shown.what}; {shown.rule}"]
    if shown.left_out:
        lines.append("left out: " + "; ".join(f"{count} x {why}" for why, count in shown.left_out.items()))
    return lines


def _visible(piece: Piece) -> str:
    """A token's text with its line ends marked, and without anything that acts on a terminal."""
    return escape_controls(piece.text).replace("\n", LINE_END).replace("\t", "⇥\t")


def _tokens(pieces: Sequence[Piece]) -> str:
    count = sum(len(piece.ids) for piece in pieces)
    return f"{count} token" + ("" if count == 1 else "s")
