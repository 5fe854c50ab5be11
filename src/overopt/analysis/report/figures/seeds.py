"""Runs that differ only in their seeds: thin lines, their interquartile mean, and its interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from overopt.analysis.report.collect import Group, ReportedRun
from overopt.analysis.report.figures import drawing
from overopt.analysis.report.figures.curves import GOLD, PROXY, win_rate_title
from overopt.analysis.report.figures.drawing import Figure, Panel, columns_of, make_figure, table_of
from overopt.statistics import interquartile_mean, seeds_interval


def draw_seeds(group: Group) -> Figure | None:
    if not group.has_seeds:
        return None
    panels = {"win_rate": win_rate_title(group), "proxy_mean": PROXY, "gold_mean": GOLD}
    return make_figure(
        "seeds",
        "Over seeds",
        "Thin: one seed. Thick: the interquartile mean over the seeds of a setting, where all of them were evaluated."
        " Band: its 95 % interval over seeds, by Student's t.",
        [_panel(group, value, title) for value, title in panels.items()],
    )


def settings_of(group: Group) -> Iterator[tuple[str, list[ReportedRun]]]:
    for setting in dict.fromkeys(record.setting for record in group.records):
        members = [record for record in group.records if record.setting == setting]
        if len(members) > 1:
            yield setting, members


def summary(members: list[ReportedRun], value: str) -> tuple[list[float], list[float], list[float], list[float]]:
    """Steps at which every seed was evaluated; the interquartile mean and the bounds of its interval at each."""
    series = [dict(zip(*(points.tolist() for points in record.evaluated(value)), strict=True)) for record in members]
    steps = sorted(set.intersection(*(set(points) for points in series)))
    if not steps:
        return [], [], [], []
    values = np.array([[points[step] for step in steps] for points in series])
    interval = seeds_interval(values, trimmed=True)
    return steps, list(interquartile_mean(values)), list(interval.low), list(interval.high)


def _panel(group: Group, value: str, title: str) -> Panel | None:
    settings = list(settings_of(group))
    rows = [(name, *row) for name, members in settings for row in zip(*summary(members, value), strict=True)]
    if not rows:
        return None
    table = table_of(("entry", "x", "y", "low", "high"), rows)
    thin = columns_of(group, {record: record.evaluated(value) for _, members in settings for record in members})
    name = f"seeds_{value}"
    return drawing.make_panel(title, _layers(group, name, title), {f"{name}-mean": table, f"{name}-thin": thin})


def _layers(group: Group, name: str, title: str) -> list[Any]:
    import altair as alt

    domain = (0.0, 1.0) if name == "seeds_win_rate" else None
    shared = drawing.encoding(group, "step", title, domain)
    plain = {key: shared[key] for key in ("x", "y", "color")}
    mean = drawing.chart(f"{name}-mean")
    band = mean.mark_area(opacity=0.18).encode(**{**plain, "y": drawing.y_axis("low", title, domain)}, y2="high:Q")
    thick = mean.mark_line(strokeWidth=2.6).encode(
        **plain,
        opacity=shared["opacity"],
        strokeDash=drawing.dash_scale(group),
        tooltip=[alt.Tooltip("entry:N"), "x:Q", "y:Q"],
    )
    pale = {"opacity": alt.condition(drawing.SHOWN, alt.value(0.3), alt.value(0.04))}
    lines = drawing.chart(f"{name}-thin").mark_line(strokeWidth=0.8).encode(**{**shared, **pale}, detail="run:N")
    return [band, lines, thick]
