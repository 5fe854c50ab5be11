"""Shows a best-of-n curve: a table with a verdict, and a figure of proxy and gold against n and KL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from overopt.analysis.best_of_n import SIGNIFICANCE, Band, BestOfN, ScoredSet, kl
from overopt.analysis.charts import HEIGHT, WIDTH, chart_of, side_by_side
from overopt.analysis.text import escape_controls
from overopt.errors import UserError
from overopt.statistics import Difference
from overopt.text_table import text_table

FORMATS = ("svg", "png", "pdf")
PROXY_COLOR, GOLD_COLOR, CEILING_COLOR = "#D55E00", "#0072B2", "#666666"

FEW = 20
"""With fewer prompts, a note says that the intervals are too narrow."""


def text_report(scored: ScoredSet, curve: BestOfN) -> str:
    """Title, table, verdict and notes as plain text."""
    lines = [f"{_title(scored)}, {len(scored.prompts)} prompts", "", curve_table(scored, curve), "", verdict(curve)]
    if scored.without_kl:
        lines.append(f"No KL: {scored.without_kl}.")
    lines += [f"Note: {note}." for note in scored.notes]
    if len(scored.prompts) < FEW:
        lines.append(f"Note: with {len(scored.prompts)} prompts only, intervals and standard errors are too narrow.")
    return escape_controls("\n".join(lines))


def curve_table(scored: ScoredSet, curve: BestOfN) -> str:
    """A row for each n: the means with their 95 % intervals over prompts; the peak of gold is marked."""
    header = ["n", *([] if scored.without_kl else ["KL"]), "proxy (95 %)", "gold (95 %)", "chosen by gold"]
    return text_table(header, [_cells(scored, curve, place) for place in range(len(curve.ns))], right=("n",))


def verdict(curve: BestOfN) -> str:
    """One line each: the gain of choosing by the proxy, where it ends, and whether more choice does harm."""
    return "\n".join(part for part in (_bought(curve), _stop(curve), _end(curve)) if part)


def draw_best_of_n(scored: ScoredSet, curve: BestOfN) -> Any:
    """A chart of proxy above gold, against n and, where the candidates are draws of one policy, against KL."""
    import altair as alt

    scale, axis = alt.Scale(type="log", base=2, nice=False), alt.Axis(values=_ticks(curve.largest), format="d")
    axes = [alt.X("n:Q", title="n (candidates to choose from)", scale=scale, axis=axis)]
    if scored.without_kl is None:
        axes.append(alt.X("kl:Q", title="KL to the policy, log n - (n-1)/n (nats)"))
    columns = [alt.vconcat(_panel(scored, curve, x, "proxy"), _panel(scored, curve, x, "gold")) for x in axes]
    lines = [f"{len(scored.prompts)} prompts; band: 95 % over prompts; dashed: if gold itself chose; ring: gold's peak"]
    if scored.without_kl:
        lines.append("no KL axis: the candidates are not draws of one policy")
    title = alt.TitleParams(
        escape_controls(_title(scored)), subtitle=lines, anchor="start", fontSize=15, subtitleFontSize=11
    )
    return side_by_side(columns, title)


def figure_path(out: Path | None, kind: str | None, source: Path) -> Path:
    """The file of the figure, by default an SVG in the working directory; its suffix and `--format` must agree."""
    if out is None:
        return Path(f"best-of-n-{re.sub(r'[.](jsonl?|gz)', '', source.name)}.{kind or 'svg'}")
    ending = out.suffix.lower().removeprefix(".")
    if not ending:
        return out.with_name(f"{out.name}.{kind or 'svg'}")
    if ending not in FORMATS:
        raise UserError(f"-o {out}: cannot draw a .{ending} file; choose {', '.join(FORMATS)}")
    if kind not in (None, ending):
        raise UserError(f"-o {out}: ends in .{ending}, but --format is {kind}; drop one of them")
    return out


def _title(scored: ScoredSet) -> str:
    return f"Best of n by {scored.proxy}: {scored.name}"


def _ticks(largest: int) -> list[int]:
    """Each power of two, and the largest n if there is room for its label."""
    doublings = [2**power for power in range(largest.bit_length())]
    return [*doublings, largest] if largest > 1.25 * doublings[-1] else doublings


def _panel(scored: ScoredSet, curve: BestOfN, x: Any, which: str) -> Any:
    import altair as alt

    band, color = (curve.proxy, PROXY_COLOR) if which == "proxy" else (curve.gold, GOLD_COLOR)
    title = scored.proxy if which == "proxy" else scored.gold
    y = alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False))
    points = chart_of(_points(curve, band))
    layers = [
        points.mark_area(opacity=0.2, color=color).encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q"),
        points.mark_line(color=color, strokeWidth=2, point={"color": color, "size": 14}).encode(x=x, y=y),
    ]
    if which == "gold":
        layers.append(points.mark_line(color=CEILING_COLOR, strokeDash=[5, 3]).encode(x=x, y="ceiling:Q"))
        peak = chart_of([point for point in _points(curve, band) if point["n"] == curve.peak])
        layers.append(peak.mark_point(size=120, color=color, strokeWidth=2).encode(x=x, y=y))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _points(curve: BestOfN, band: Band) -> list[dict[str, float]]:
    columns = (curve.ns, map(kl, curve.ns), band.mean, band.low, band.high, curve.ceiling)
    names = ("n", "kl", "mean", "low", "high", "ceiling")
    return [dict(zip(names, (n, *map(float, numbers)), strict=True)) for n, *numbers in zip(*columns, strict=True)]


def _cells(scored: ScoredSet, curve: BestOfN, place: int) -> list[str]:
    n = curve.ns[place]
    axis = [] if scored.without_kl else [f"{kl(n):.3f}"]
    intervals = [
        f"{_number(band.mean[place], band)} [{_number(band.low[place], band)}, {_number(band.high[place], band)}]"
        for band in (curve.proxy, curve.gold)
    ]
    mark = "  <- peak" if n == curve.peak else ""
    return [str(n), *axis, *intervals, _number(curve.ceiling[place], curve.gold) + mark]


def _number(value: float, band: Band, sign: str = "") -> str:
    """The value with as many digits as distinguish the values of its curve."""
    largest = abs(band.mean).max()
    return f"{value:{sign}.3f}" if largest == 0 or 0.1 <= largest < 1e6 else f"{value:{sign}.3e}"


def _bought(curve: BestOfN) -> str:
    one, best = curve.gold.mean[0], curve.gold.mean.max()
    if curve.peak == 1:
        return f"Gold is highest at n = 1 ({_number(one, curve.gold)}): choosing by the proxy buys nothing."
    gain = curve.gain(curve.peak)
    at_peak = f"Gold peaks at n = {curve.peak}: {_number(best, curve.gold)}"
    bought = f"{at_peak}, {_with_error(gain, curve.gold, sign='+')} over one candidate"
    if not curve.is_clear(gain):
        return f"{bought}, which may be chance."
    possible = curve.ceiling[curve.ns.index(curve.peak)] - one
    return f"{bought}, {gain.mean / possible:.0%} of what choosing by gold would add."


def _stop(curve: BestOfN) -> str:
    if curve.peak == 1:
        return ""
    if curve.stops_rising == curve.largest:
        return f"It still rises at n = {curve.largest}, the largest that these candidates can show."
    return f"Beyond n = {curve.stops_rising} no larger n adds to it by {SIGNIFICANCE:g} standard errors."


def _end(curve: BestOfN) -> str:
    if curve.peak == curve.largest:
        return ""
    size = _with_error(curve.gain(curve.peak, over=curve.largest), curve.gold)
    if curve.falls:
        return f"Over-optimized: at n = {curve.largest} it is {size} below the peak."
    return f"From the peak to n = {curve.largest} it does not fall clearly: by {size}."


def _with_error(difference: Difference, band: Band, sign: str = "") -> str:
    return f"{_number(difference.mean, band, sign)} (SE {_number(difference.se, band)})"
