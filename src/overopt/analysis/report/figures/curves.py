"""Win rate, proxy and gold at every evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from overopt.analysis.report.collect import Group
from overopt.analysis.report.figures import drawing
from overopt.analysis.report.figures.drawing import MANY, Columns, Figure, line_panel, make_figure, table_of

WIN_RATE = "win rate against the reference"
PROXY = "proxy (reward model's score)"
GOLD = "gold reward"


def draw_curves(group: Group) -> Figure | None:
    start = [record.row.sft_win_rate for record in group.records if record.row.sft_win_rate is not None]
    panels = [
        line_panel(
            group, "win_rate", WIN_RATE, "step", lambda record: record.evaluated("win_rate"), domain=(0, 1), dots=True,
            extra=lambda: _below(group, bool(start)), extra_data=_intervals(group, start),
        ),
        line_panel(group, "proxy", PROXY, "step", lambda record: record.evaluated("proxy_mean"), dots=True),
        line_panel(group, "gold", GOLD, "step", lambda record: record.evaluated("gold_mean"), dots=True),
    ]  # fmt: skip
    return make_figure(
        "curves",
        "Win rate, proxy and gold",
        "Greedy completions of the same prompts at every evaluation. A proxy that rises while win rate and gold fall is"
        " over-optimized. Bars: 95 % Wilson intervals; the grey line is the SFT policy. ✓ better than SFT, × worse,"
        " – neither or not known.",
        panels,
    )


def _intervals(group: Group, start: list[float]) -> dict[str, Columns]:
    bars = [
        (record.name, group.entry(record), row["step"], row["win_rate_low"], row["win_rate_high"])
        for record in (group.records if len(group.records) < MANY else ())
        for row in record.evaluations
        if row.get("win_rate_low") is not None and row.get("win_rate_high") is not None
    ]
    sft = table_of(["y"], [[np.mean(start)]] if start else [])
    return {"intervals": table_of(("run", "entry", "x", "low", "high"), bars), "sft": sft}


def _below(group: Group, has_start: bool) -> list[Any]:
    import altair as alt

    bars = drawing.chart("win_rate-intervals").mark_rule(strokeWidth=1.5)
    shared = drawing.encoding(group, "step", WIN_RATE, (0, 1))
    shared["y"] = drawing.y_axis("low", WIN_RATE, (0, 1))
    shared["opacity"] = alt.condition(drawing.SHOWN, alt.value(0.35), alt.value(0.04))
    rule = drawing.chart("win_rate-sft").mark_rule(strokeDash=[4, 4], color="gray").encode(y="y:Q")
    return [*([rule] if has_start else []), bars.encode(**shared, y2="high:Q")]
