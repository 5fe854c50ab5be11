"""The report as one HTML file that contains its style, program, drawing library and data, and needs no network.

Everything that comes from a run is embedded as JSON and shown as text, never as HTML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from overopt.analysis.disagreement import disagreements
from overopt.analysis.report.collect import Collection, Group, ReportedRun
from overopt.analysis.report.figures import drawing
from overopt.analysis.report.figures.drawing import Columns, Figure, style_of
from overopt.analysis.report.provenance import provenance
from overopt.analysis.report.samples import MOST_COMPLETIONS, samples_of
from overopt.analysis.report.verdicts import sentence
from overopt.analysis.run_summary import verdict
from overopt.analysis.text import escape_controls, escape_tree

HERE = Path(__file__).parent


def page(collection: Collection, figures: Mapping[str, Sequence[Figure]], title: str) -> str:
    """The HTML of the page; `figures` are keyed by the groups' slugs."""
    html, style, program = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return filled(html, style, program, content(collection, figures, title))


def filled(html: str, style: str, program: str, data: Any) -> str:
    """A page with its style, its program, the drawing library and its data in the places that it names."""
    parts = {"STYLE": style, "DATA": as_json(data), "LIBRARY": drawing_library(), "PROGRAM": program}
    for name, part in parts.items():
        before, _, after = html.partition(f"@{name}@")
        html = before + part + after
    return html


def content(collection: Collection, figures: Mapping[str, Sequence[Figure]], title: str) -> dict[str, Any]:
    """Everything that the page shows, as plain data."""
    share = MOST_COMPLETIONS // max(1, len(collection.groups))
    return {
        "title": title,
        "generated": datetime.now(UTC).isoformat(timespec="minutes"),
        "left_out": list(collection.left_out),
        "dropped": [f"{record.name}, {text}" for record in collection.records for text in record.dropped],
        "groups": [_group(group, figures.get(group.slug, ()), share) for group in collection.groups],
        "bases": [_base(record) for record in collection.bases],
        "provenance": provenance(collection),
        "chosen": drawing.CHOSEN,
    }


def as_json(tree: Any) -> str:
    """JSON for a script element: nothing in it can end the element, and control characters are escaped."""
    text = json.dumps(
        escape_tree(tree),
        default=lambda value: escape_controls(str(value)),
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def drawing_library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub does not know the default
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def encoded(table: Columns) -> dict[str, Any]:
    """A table in which columns of text are replaced by indices into a list of their distinct values."""
    return {name: _encoded_column(column) for name, column in table.items()}


def _encoded_column(column: Sequence[Any]) -> Any:
    if not any(isinstance(value, str) for value in column):
        return list(column)
    values = list(dict.fromkeys(column))
    places = {value: place for place, value in enumerate(values)}
    return {"values": values, "codes": [places[value] for value in column]}


def _group(group: Group, figures: Sequence[Figure], share: int) -> dict[str, Any]:
    samples = samples_of(group, share)
    runs_of = {entry: [r.name for r in group.records if group.entry(r) == entry] for entry in group.entries}
    return {
        "title": group.title,
        "slug": group.slug,
        "sentence": sentence(group),
        "judges": group.judges,
        "names_judges": group.names_judges,
        "disagreements": disagreements([record.row for record in group.records]),
        "has_seeds": group.has_seeds,
        "rows": [_row(group, record) for record in group.records],
        "legend": [
            {"entry": entry, "color": color, "dash": dash, "runs": runs_of[entry]}
            for entry, (color, dash) in style_of(group).items()
        ],
        "figures": [_figure(figure) for figure in figures],
        "samples": None if samples is None else asdict(samples),
    }


def _row(group: Group, record: ReportedRun) -> dict[str, Any]:
    last = record.evaluations[-1] if record.evaluations else {}
    return {
        **asdict(record.row),
        "entry": group.entry(record),
        "seed": record.seed,
        "mark": record.mark,
        "verdict": verdict(record.row),
        "outcome": drawing.outcome_of(record),
        "by": {judge: _judged(record, judge) for judge in group.judges},
        "step": last.get("step"),
        **{name: last.get(name) for name in ("win_difference", "win_difference_se", "len_mean", "eos_rate", "n")},
    }


def _judged(record: ReportedRun, judge: str) -> dict[str, Any] | None:
    """What one judge makes of a run; None if it judged nothing."""
    judged = record.row.by(judge)
    return None if judged is None else {**asdict(judged), "outcome": drawing.outcome_of(record, judge)}


def _base(record: ReportedRun) -> dict[str, Any]:
    last = record.evaluations[-1] if record.evaluations else {}
    keys = ("step", "split", "judge", "prompt_set", "nonfinite")
    return {
        "run": record.name,
        "stage": record.run.stage or "?",
        "mark": record.mark,
        "step": last.get("step"),
        "numbers": {k: v for k, v in last.items() if k not in keys and isinstance(v, int | float)},
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "notes": list(figure.notes),
        "panels": [
            {"title": p.title, "spec": p.spec, "data": {name: encoded(table) for name, table in p.data.items()}}
            for p in figure.panels
        ],
    }
