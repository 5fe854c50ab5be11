"""Shows `agreement.json`, the agreement of judges with human labels and with one another: as text and as a page.

The page has no program: tables, and a figure as SVG. All text that comes from the file is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from overopt.analysis.charts import chart_of, render, side_by_side
from overopt.analysis.text import escape_controls
from overopt.datafiles import json_object, json_value, opened
from overopt.errors import UserError
from overopt.records.atomic import replace_file
from overopt.text_table import text_table

HERE = Path(__file__).parent
FILE, PAGE = "agreement.json", "agreement.html"

Row = Mapping[str, Any]

MEASURES = {
    "accuracy": ("accuracy", 0.5, "share of pairs judged as humans do, a tie counting 1/2; a coin has 0.5"),
    "kappa": ("kappa", 0.0, "Cohen's kappa: agreement with the labels beyond chance, 0 for a coin, 1 if always right"),
    "position_bias": ("position bias", 0.0, "how much more than half of the replies prefer the text that stands first"),
    "order_consistency": ("order consistency", None, "share of pairs whose two orders give the same preference"),
    "length_bias": ("length bias", 0.0, "how much more often than humans it prefers the longer text"),
    "length_slope": (
        "length slope",
        0.0,
        "length bias with pairs weighted by their difference: from equal to much longer",
    ),
}
"""Title of each measure, its value without skill or bias, and what it means."""
SKILL, BIASES = tuple(MEASURES)[:2], tuple(MEASURES)[2:]
SIGNED = ("position_bias", "length_bias", "length_slope")
DRAWN = ("accuracy", "kappa", "position_bias", "length_bias")

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>overopt: agreement of judges</title>
<style>
{style}
</style>
</head>
<body>
<header><h1>Agreement of judges</h1><p class="quiet">{subtitle}</p></header>
<main>
<section id="verdict">{verdicts}</section>
<section><h2>Against human labels</h2><div class="scroll">{skill}</div><div class="scroll">{figure}</div></section>
<section><h2>Biases</h2><div class="scroll">{biases}</div></section>
{between}
<section><h2>How to read it</h2><ul>{legend}</ul><p class="quiet">{notes}</p></section>
</main>
</body>
</html>
"""


def read_agreement(folder: Path) -> Row:
    """The content of a folder's `agreement.json`; UserError if it has none, or another program's."""
    path = folder / FILE
    with opened(path) as file:
        document = json_object(json_value(file.read(), str(path), whole_file=True), str(path))
    if not {"judges", "between", "n"} <= set(document):
        raise UserError(f"{path}: is not what `overopt judge agreement` writes; name the folder given as --out")
    return document


def write_agreement_page(folder: Path) -> Path:
    """Write the page of a folder's `agreement.json` beside it, and return its path."""
    path = folder / PAGE
    replace_file(path, agreement_page(read_agreement(folder)).encode())
    return path


def agreement_text(document: Row) -> str:
    """Tables for a terminal, and a sentence about each judge."""
    parts = [
        _subtitle(document),
        text_table(*_skill(document)),
        text_table(*_judge_cells(document, BIASES)),
        text_table(*_between_cells(document)) if document["between"] else "",
        "\n".join(verdicts(document)),
    ]
    return escape_controls("\n\n".join(part for part in parts if part))


def agreement_page(document: Row) -> str:
    """The HTML of the page."""
    between = _html_table(*_between_cells(document)) if document["between"] else ""
    section = f'<section><h2>Between judges</h2><div class="scroll">{between}</div></section>' if between else ""
    legend = "".join(f"<li>{_text(title)}: {_text(meaning)}</li>" for title, _, meaning in MEASURES.values())
    return TEMPLATE.format(
        style=(HERE / "report" / "page.css").read_text(encoding="utf-8"),
        subtitle=_text(_subtitle(document)),
        verdicts="".join(f'<p class="sentence">{_text(line)}</p>' for line in verdicts(document)),
        skill=_html_table(*_skill(document)),
        biases=_html_table(*_judge_cells(document, BIASES)),
        figure=render(draw_agreement(document).to_dict(), "svg").decode(),
        between=section,
        legend=legend,
        notes=_text(NOTES),
    )


NOTES = (
    "In brackets: 95 % intervals over pairs. A judge's two replies to a pair count as one unit. Invalid: pairs with a "
    "reply that could not be read; they are left out, but the position bias counts their other reply. Seconds are "
    "those of judgements that were not in the cache, divided by their number, with as many requests at a time as the "
    "judge makes. Lengths are in characters."
)


def verdicts(document: Row) -> list[str]:
    """One sentence for each judge: what its intervals exclude."""
    return [_verdict(row) for row in document["judges"]]


def _verdict(row: Row) -> str:
    accuracy = row.get("accuracy")
    if accuracy is None:
        return f"{row['judge']}: gave no valid judgement."
    skill = _side(accuracy, 0.5, "better than a coin", "worse than a coin", "not distinguishable from a coin")
    biases = [
        _side(row.get("position_bias"), 0, "prefers the text that stands first", "prefers the text that stands second"),
        _side(row.get("length_bias"), 0, "prefers the longer text", "prefers the shorter text"),
    ]
    if biases[1]:
        biases[1] += " more often than humans do"
    return f"{row['judge']}: " + "; ".join(part for part in (skill, *biases) if part) + "."


def _side(estimate: Row | None, neutral: float, above: str, below: str, neither: str = "") -> str:
    if estimate is None:
        return neither
    return above if estimate["low"] > neutral else below if estimate["high"] < neutral else neither


def draw_agreement(document: Row) -> Any:
    """A chart of each measure: a judge's value and interval, with a line where a judge without skill or bias lies."""
    import altair as alt

    names = [row["judge"] for row in document["judges"]]
    panels = []
    for place, measure in enumerate(DRAWN):
        title, neutral, _ = MEASURES[measure]
        points = chart_of([{"judge": r["judge"], **r[measure]} for r in document["judges"] if measure in r])
        axis = alt.Axis(labelLimit=260) if place == 0 else None
        y = alt.Y("judge:N", title=None, sort=names, axis=axis, scale=alt.Scale(domain=names))
        x = alt.X("low:Q", title=title, scale=alt.Scale(zero=False, nice=True))
        layers = [
            chart_of([{"neutral": neutral}]).mark_rule(strokeDash=[4, 3], color="#888888").encode(x="neutral:Q"),
            points.mark_rule(strokeWidth=2, color="#0072B2").encode(y=y, x=x, x2="high:Q"),
            points.mark_point(filled=True, size=60, color="#0072B2").encode(y=y, x=alt.X("value:Q", title=title)),
        ]
        panels.append(alt.layer(*layers).properties(width=170, height=max(40, 26 * len(names))))
    return side_by_side(panels, alt.TitleParams("Estimates and 95 % intervals", anchor="start", fontSize=13))


# --- Cells

Cells = tuple[list[str], list[list[str]]]


def _judge_cells(
    document: Row, measures: Sequence[str], before: Sequence[str] = (), after: Sequence[str] = ()
) -> Cells:
    header = ["judge", *before, *(MEASURES[name][0] for name in measures), *after]
    rows = [
        [
            row["judge"],
            *(str(row.get(name, "")) for name in before),
            *(_estimate(row.get(name), "+" if name in SIGNED else "") for name in measures),
            *(_seconds(row.get("seconds_per_judgement")) for _ in after),
        ]
        for row in document["judges"]
    ]
    return header, rows


def _skill(document: Row) -> Cells:
    return _judge_cells(document, SKILL, before=("n", "invalid", "ties"), after=("s each",))


def _between_cells(document: Row) -> Cells:
    rows = [
        [*row["judges"], _estimate(row.get("agreement")), _estimate(row.get("kappa"))] for row in document["between"]
    ]
    return ["judge", "other judge", "agreement", "kappa"], rows


def _estimate(estimate: Row | None, sign: str = "") -> str:
    """`0.74 [0.65, 0.81]`; a dash for what does not apply."""
    if estimate is None:
        return "-"
    value, low, high = (f"{estimate[name]:{sign}.2f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _seconds(value: float | None) -> str:
    return "cached" if value is None else f"{value:.2g}"


def _subtitle(document: Row) -> str:
    reasons = "; ".join(f"{count} x {reason}" for reason, count in document.get("left_out", {}).items())
    longer = document.get("humans_prefer_longer")
    parts = [
        f"{document['n']} pairs of {document.get('source', '?')}, judged {document.get('date', '?')}",
        *([f"left out: {reasons}"] if reasons else []),
        *([f"humans prefer the longer text in a share of {_estimate(longer)}"] if longer else []),
    ]
    return "; ".join(parts) + "."


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        first, *rest = (_text(cell) for cell in cells)
        numbers = "".join(f'<{tag} class="number">{cell}</{tag}>' for cell in rest)
        return f'<{tag} class="name">{first}</{tag}>{numbers}'

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{line(header, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return escape(escape_controls(text))
