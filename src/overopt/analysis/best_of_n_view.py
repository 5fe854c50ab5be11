"""A best-of-n curve for people: a table with a verdict, and a figure of proxy and gold against n and KL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overopt.analysis.best_of_n import SIGNIFICANCE, Band, BestOfN, ScoredSet, kl, shown
from overopt.errors import UserError
from overopt.statistics import Difference

FORMATS = ("svg", "png", "pdf")
PROXY_COLOR, GOLD_COLOR, CEILING_COLOR = "#D55E00", "#0072B2", "#666666"
WIDTH, HEIGHT = 330, 190


def text_report(scored: ScoredSet, curve: BestOfN) -> str:
    """Title, table and verdict as plain text."""
    lines = [
        f"Best of n by {scored.proxy}: {scored.name}, {len(scored.prompts)} prompts",
        "",
        text_table(scored, curve),
        "",
        verdict(scored, curve),
    ]
    if scored.without_kl:
        lines.append(f"No KL: {scored.without_kl}.")
    return "\n".join([*lines, *(f"Note: {note}." for note in scored.notes)])


def text_table(scored: ScoredSet, curve: BestOfN) -> str:
    """A row for each shown n: the means with their 95 % intervals over prompts, the peak of gold marked."""
    head = ["n", *([] if scored.without_kl else ["KL"]), "proxy (95 %)", "gold (95 %)", "chosen by gold"]
    cells = [head]
    for n in dict.fromkeys(sorted([*shown(curve.largest), curve.peak])):
        axis = [] if scored.without_kl else [f"{kl(n):.3f}"]
        mark = "  <- peak" if n == curve.peak else ""
        cells.append(
            [str(n), *axis, _interval(curve.proxy, n), _interval(curve.gold, n), f"{curve.ceiling[n - 1]:.3f}{mark}"]
        )
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join([row[0].rjust(widths[0]), *(c.ljust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def verdict(scored: ScoredSet, curve: BestOfN) -> str:
    """What choosing by the proxy buys, and where it stops."""
    last, peak, stop = curve.largest, curve.peak, curve.stops_rising
    gold = curve.gold.mean
    if peak == 1:
        buys = f"Gold is highest at n = 1 ({gold[0]:.3f}): choosing by the proxy buys nothing"
    else:
        buys = f"Gold peaks at n = {peak}: {gold[peak - 1]:.3f}, {_signed(curve.gain(peak))} over one candidate"
        possible = curve.ceiling[peak - 1] - gold[0]
        if possible > 0:
            buys += f", {curve.gain(peak).mean / possible:.0%} of what choosing by gold would add"
    rises = (
        f"Beyond n = {stop} no larger n adds to it by {SIGNIFICANCE:g} standard errors."
        if stop < last
        else (f"It still rises at n = {last}, the largest that these candidates can show.")
    )
    lost = curve.gain(peak, over=last)
    if peak == last:
        ends = ""
    elif curve.falls:
        ends = f" Over-optimized: at n = {last} it is {lost.mean:.3f} (SE {lost.se:.3f}) below the peak."
    else:
        ends = f" From the peak to n = {last} it does not fall clearly: by {lost.mean:.3f} (SE {lost.se:.3f})."
    return f"{buys}. {rises}{ends}"


def figure(scored: ScoredSet, curve: BestOfN) -> Any:
    """Proxy above gold, against n, and against KL too where the candidates are draws of one policy."""
    import altair as alt

    doublings = [2**power for power in range(curve.largest.bit_length())]
    scale, ticks = alt.Scale(type="log", base=2, nice=False), alt.Axis(values=doublings, format="d")
    axes = [alt.X("n:Q", title="n (candidates to choose from)", scale=scale, axis=ticks)]
    if scored.without_kl is None:
        axes.append(alt.X("kl:Q", title="KL to the policy, log n - (n-1)/n (nats)"))
    columns = [alt.vconcat(_panel(scored, curve, axis, "proxy"), _panel(scored, curve, axis, "gold")) for axis in axes]
    lines = [f"{len(scored.prompts)} prompts; band: 95 % over prompts; dashed: if gold itself chose; ring: gold's peak"]
    if scored.without_kl:
        lines.append("no KL axis: the candidates are not draws of one policy")
    title = alt.TitleParams(
        f"Best of n by {scored.proxy}: {scored.name}", subtitle=lines, anchor="start", fontSize=15, subtitleFontSize=11
    )
    return (
        alt.hconcat(*columns, spacing=40)
        .properties(title=title)
        .configure_view(stroke=None)
        .configure_axis(grid=True, gridColor="#eeeeee", labelFontSize=11, titleFontSize=11)
        .configure(background="white", padding=12)
    )


def figure_path(out: Path | None, kind: str | None, name: str) -> Path:
    """Where the figure goes: an ending and `--format` must agree; by default an SVG in the working directory."""
    if out is None:
        return Path(f"best-of-n-{Path(name).name.split('.')[0]}.{kind or 'svg'}")
    ending = out.suffix.lower().removeprefix(".")
    if not ending:
        return out.with_name(f"{out.name}.{kind or 'svg'}")
    if ending not in FORMATS:
        raise UserError(f"-o {out}: cannot draw a .{ending} file; choose {', '.join(FORMATS)}")
    if kind not in (None, ending):
        raise UserError(f"-o {out}: ends in .{ending}, but --format is {kind}; drop one of them")
    return out


def save_figure(chart: Any, path: Path) -> None:
    """Draw it in the format that its ending names."""
    import vl_convert

    spec = chart.to_dict()
    match path.suffix.lower():
        case ".svg":
            content = vl_convert.vegalite_to_svg(spec).encode()
        case ".pdf":
            content = vl_convert.vegalite_to_pdf(spec)
        case _:
            content = vl_convert.vegalite_to_png(spec, scale=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place with -o") from None


def _panel(scored: ScoredSet, curve: BestOfN, x: Any, which: str) -> Any:
    import altair as alt

    band, color = (curve.proxy, PROXY_COLOR) if which == "proxy" else (curve.gold, GOLD_COLOR)
    title = scored.proxy if which == "proxy" else scored.gold
    y = alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False))
    points = _chart(_points(curve, band))
    layers = [
        points.mark_area(opacity=0.2, color=color).encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q"),
        points.mark_line(color=color, strokeWidth=2, point={"color": color, "size": 14}).encode(x=x, y=y),
    ]
    if which == "gold":
        layers.append(points.mark_line(color=CEILING_COLOR, strokeDash=[5, 3]).encode(x=x, y="ceiling:Q"))
        peak = _chart([point for point in _points(curve, band) if point["n"] == curve.peak])
        layers.append(peak.mark_point(size=120, color=color, strokeWidth=2).encode(x=x, y=y))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _points(curve: BestOfN, band: Band) -> list[dict[str, float]]:
    """Numbers at every n that the table shows, and at the peak: a thousand points would draw the same line."""
    return [
        {
            "n": n,
            "kl": kl(n),
            "mean": float(band.mean[n - 1]),
            "low": float(band.low[n - 1]),
            "high": float(band.high[n - 1]),
            "ceiling": float(curve.ceiling[n - 1]),
        }
        for n in sorted({*shown(curve.largest), curve.peak})
    ]


def _chart(values: Sequence[dict[str, float]]) -> Any:
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(values)))


def _interval(band: Band, n: int) -> str:
    return f"{band.mean[n - 1]:.3f} [{band.low[n - 1]:.3f}, {band.high[n - 1]:.3f}]"


def _signed(difference: Difference) -> str:
    return f"{difference.mean:+.3f} (SE {difference.se:.3f})"
