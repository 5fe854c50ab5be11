"""Win rate, proxy and gold at every evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from overopt.analysis.report.collect import Group
from overopt.analysis.report.figures import drawing
from overopt.analysis.report.figures.drawing import MANY, Columns, Figure, Panel, line_panel, make_figure, table_of

PROXY = "proxy (reward model's score)"
GOLD = "gold reward"


def win_rate_title(group: Group, judge: str | None = None) -> str:
    """What a win rate is called: by whom, by default by the first judge, unless only the runs' own judge is shown."""
    return f"win rate by {judge or group.judges[0]}" if group.names_judges else "win rate against the reference"


def draw_curves(group: Group) -> Figure | None:
    several = len(group.judges) > 1
    panels = [
        *(_win_rates(group, place, judge) for place, judge in enumerate(group.judges or [None])),
        line_panel(group, "proxy", PROXY, "step", lambda record: record.evaluated("proxy_mean"), dots=True),
        line_panel(group, "gold", GOLD, "step", lambda record: record.evaluated("gold_mean"), dots=True),
    ]
    return make_figure(
        "curves",
        "Win rate, proxy and gold",
        "Greedy completions of the same prompts at every evaluation. A proxy that rises while win rate and gold fall is"
        " over-optimized. Bars: 95 % Wilson intervals; the grey line is the SFT policy. ✓ better than SFT, × worse,"
        " – neither or not known"
        + (", by the panel's judge, else by the first. Each judge has a panel of its own." if several else "."),
        panels,
    )


def _win_rates(group: Group, place: int, judge: str | None) -> Panel | None:
    """The win rates by one judge."""
    name, title = f"win_rate_{place}" if place else "win_rate", win_rate_title(group, judge)
    judged = [record.row.by(judge) for record in group.records]
    start = [row.sft_win_rate for row in judged if row is not None and row.sft_win_rate is not None]
    return line_panel(
        group, name, title, "step", lambda record: record.evaluated("win_rate", judge), domain=(0, 1), dots=True,
        extra=lambda: _below(group, name, title, bool(start)), extra_data=_intervals(group, judge, start), judge=judge,
    )  # fmt: skip


def _intervals(group: Group, judge: str | None, start: list[float]) -> dict[str, Columns]:
    bars = [
        (record.name, group.entry(record), row["step"], row["win_rate_low"], row["win_rate_high"])
        for record in (group.records if len(group.records) < MANY else ())
        for row in record.evaluations_by(judge)
        if row.get("win_rate_low") is not None and row.get("win_rate_high") is not None
    ]
    sft = table_of(["y"], [[np.mean(start)]] if start else [])
    return {"intervals": table_of(("run", "entry", "x", "low", "high"), bars), "sft": sft}


def _below(group: Group, name: str, title: str, has_start: bool) -> list[Any]:
    import altair as alt

    bars = drawing.chart(f"{name}-intervals").mark_rule(strokeWidth=1.5)
    shared = drawing.encoding(group, "step", title, (0, 1))
    shared["y"] = drawing.y_axis("low", title, (0, 1))
    shared["opacity"] = alt.condition(drawing.SHOWN, alt.value(0.35), alt.value(0.04))
    rule = drawing.chart(f"{name}-sft").mark_rule(strokeDash=[4, 4], color="gray").encode(y="y:Q")
    return [*([rule] if has_start else []), bars.encode(**shared, y2="high:Q")]
