"""Figures 3 and 5: KL to the reference and between consecutive policies, KL-constrained against MaxEnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np

from overopt.outcomes import OVER_OPTIMIZED
from overopt.replication.figures.drawing import (
    BLACK,
    BLUE,
    DASHED,
    DOTTED,
    ORANGE,
    SOLID,
    Block,
    Figure,
    Legend,
    Line,
    colors_of,
    grid,
    make_block,
    panel,
    scale_text,
)
from overopt.replication.figures.over_seeds import (
    LINEAR,
    Axis,
    end_mark,
    final_win_rates,
    outcome_text,
    pooled_label,
    series,
    sft_win_rate,
    share_text,
)
from overopt.replication.figures.wording import end_of, halves_say, of, range_text, rises_text, sentence
from overopt.replication.members import Member, Members

ROWS = {"1B": {"ME-1B-1e-6": "high", "ME-1B-1e-7": "low"}, "2.8B": {"ME-2.8B-1e-7": "low", "ME-2.8B-5e-8": "lowest"}}
"""The MaxEnt rows of each panel, as in figures 1 and 2."""
DASHES = {"high": SOLID, "low": DASHED, "lowest": DOTTED}

KL_REF = "KL(π || π_ref), nats per completion"
KL_PREV = "KL(π after || before the update), nats"
KL_AXIS, STEP_AXIS = Axis(linear_below=0.1), Axis(linear_below=1e-4)
CAP = 2.5
"""Figure 3's top axis ends at so many times the largest KL of the lines that do not over-optimize."""

kl_ref, kl_prev = series("kl_ref"), series("kl_prev")


def draw_figure_3(members: Members) -> Figure | None:
    chosen = {size: _three(members, size) for size in ROWS}
    blocks = [_dynamics(f"figure-3-{size}", size, lines) for size, lines in chosen.items()]
    drawn = tuple(block for block in blocks if block is not None)
    if not drawn:
        return None
    shows = " ".join(_says_dynamics(size, lines) for size, lines in chosen.items() if lines)
    caption = (
        "Of MaxEnt's settings (without coefficient 0) the one with the best and the over-optimized one with the worst"
        " final win rate, mean over seeds. Lines: means over seeds of batches, averaged over blocks of updates; bands:"
        " 95 % intervals over seeds. The top axis is linear, so that straight growth is straight, and ends at"
        f" {CAP:g} times the largest KL of a line that is not over-optimized: lines beyond leave the panel, and the"
        " legend says where they end. The bottom axis is logarithmic; means on it are geometric."
    )
    return Figure("figure-3", "Figure 3. KL during training", shows, caption, scale_text(members), drawn)


def draw_figure_5(members: Members) -> Figure | None:
    lines = {size: _all(members, size) for size in ROWS}
    marks = {size: {line.entry: end_mark(line.runs) for line in parts} for size, parts in lines.items()}
    blocks = [
        make_block(
            f"{size}",
            [panel(f"figure-5-{size}", KL_REF, lines[size], kl_ref, axis=KL_AXIS, ends=marks[size])],
            _legend(lines[size], KL_AXIS),
        )
        for size in ROWS
    ]
    drawn = tuple(block for block in blocks if block is not None)
    if not drawn:
        return None
    caption = (
        "Check: over all seeds the win rate ends above SFT's; cross: it ends below, or fell from its peak while the"
        " proxy rose; dash: neither. Colors: coefficients; solid, dashed, dotted: the high, low and lowest learning"
        " rate; black: KL-constrained. The axis is logarithmic above 0.1 nats, because the runs' KL differ up to a"
        " hundredfold; on it, means and bands (95 % over seeds) are geometric, and linear growth bends to the right."
    )
    shows = _says_marks(lines, marks)
    return Figure(
        "figure-5", "Figure 5. KL to the reference and outcomes", shows, caption, scale_text(members), drawn, height=130
    )


def _three(members: Members, size: str) -> list[Line]:
    """The KL-constrained run, the best MaxEnt run and the worst over-optimized one."""
    lines = []
    if runs := members.of(f"KL-{size}"):
        lines.append(Line("KL, high", runs, BLACK, SOLID))
    maxent = [
        (rate, line)
        for row, rate in ROWS[size].items()
        for line in grid(members, row, "coef", colors_of(members, [row], "coef"))
        if line.entry != "0" and final_win_rates(line.runs)
    ]
    by_win_rate: Callable[[tuple[str, Line]], float] = lambda pair: fmean(final_win_rates(pair[1].runs))  # noqa: E731
    if maxent:
        rate, best = max(maxent, key=by_win_rate)
        lines.append(Line(f"MaxEnt {best.entry}, {rate}", best.runs, BLUE, DASHED))
        worse = [pair for pair in maxent if _over_optimized(pair[1].runs) and pair[1] is not best]
        if worse:
            rate, worst = min(worse, key=by_win_rate)
            lines.append(Line(f"MaxEnt {worst.entry}, {rate}", worst.runs, ORANGE, DOTTED))
    return lines


def _over_optimized(runs: Sequence[Member]) -> bool:
    return pooled_label(runs) in OVER_OPTIMIZED


def _all(members: Members, size: str) -> list[Line]:
    runs = members.of(f"KL-{size}")
    lines = [Line("KL, high", runs, BLACK, SOLID)] if runs else []
    colors = colors_of(members, list(ROWS[size]), "coef")
    for row, rate in ROWS[size].items():
        for line in grid(members, row, "coef", colors):
            lines.append(Line(f"MaxEnt {line.entry}, {rate}", line.runs, line.color, DASHES[rate]))
    return lines


def _dynamics(name: str, size: str, lines: Sequence[Line]) -> Block | None:
    calm = [end for line in lines if not _over_optimized(line.runs) for end in [_end(line)] if np.isfinite(end)]
    ends = [end for line in lines for end in [_end(line)] if np.isfinite(end)]
    domain = (0.0, CAP * max(calm)) if calm and max(ends) > CAP * max(calm) > 0 else None
    panels = [
        panel(f"{name}-ref", KL_REF, lines, kl_ref, domain=domain),
        panel(f"{name}-prev", KL_PREV, lines, kl_prev, axis=STEP_AXIS),
    ]
    return make_block(size, panels, _legend(lines, LINEAR))


def _end(line: Line, axis: Axis = LINEAR) -> float:
    """Final KL, a mean over seeds on the axis, so that it is where the line ends; NaN if unknown."""
    ends = axis.forward(np.array(ends_of(line.runs)))
    return float(axis.back(ends.mean())) if len(ends) else math.nan


def ends_of(runs: Sequence[Member]) -> list[float]:
    """KL to the reference at the end of every run that recorded it."""
    return [end_of(points) for run in runs if (points := kl_ref(run)) is not None and len(points[0])]


def _legend(lines: Sequence[Line], axis: Axis) -> Legend:
    rows = []
    for line in lines:
        end = _end(line, axis)
        kl = f"{end:.3g}" if math.isfinite(end) else "?"
        rows.append((line, (kl, share_text(final_win_rates(line.runs)), outcome_text(line.runs))))
    sft = sft_win_rate([run for line in lines for run in line.runs])
    heads = ("setting", "KL", "final win rate", "outcome")
    return Legend(heads, tuple(rows), "" if sft is None else f"SFT {sft:.2f}")


def _says_dynamics(size: str, lines: Sequence[Line]) -> str:
    ends = [f"{_range(ends_of(line.runs))} for {line.entry} ({halves_say(line.runs, kl_ref)})" for line in lines]
    rises = [f"{rises_text(line.runs, kl_prev)} for {line.entry}" for line in lines]
    return sentence(
        f"at {size} KL to the reference ends at {', '.join(ends)}",
        f"KL between consecutive policies ends higher than it starts in {', '.join(rises)}",
    )


def _says_marks(lines: Mapping[str, Sequence[Line]], marks: Mapping[str, Mapping[str, str]]) -> str:
    said, checked, crossed = [], {}, {}
    for size, parts in lines.items():
        maxent = [line for line in parts if line.entry.startswith("MaxEnt") and np.isfinite(_end(line))]
        checked[size] = [_end(line, KL_AXIS) for line in maxent if marks[size][line.entry] == "better"]
        crossed[size] = [_end(line, KL_AXIS) for line in maxent if marks[size][line.entry] == "worse"]
        if maxent:
            said.append(
                f"at {size} {of(len(checked[size]), len(maxent))} MaxEnt curves have a check"
                f"{_at(checked[size])} and {len(crossed[size])} a cross{_at(crossed[size])}"
            )
    small, middle = checked.get("1B", []), crossed.get("2.8B", [])
    if small and middle:
        least, most = min(middle), max(small)
        similar = "similar KL, different outcome" if least <= 1.25 * most else "not at similar KL"
        said.append(
            f"the least KL of a crossed 2.8B curve is {least:.3g} nats, the most of a checked 1B curve {most:.3g}:"
            f" {similar}"
        )
    return sentence(*said or ["no MaxEnt curve was recorded"])


def _range(ends: Sequence[float]) -> str:
    return range_text(ends, "nats") if ends else "an unknown value"


def _at(ends: Sequence[float]) -> str:
    return f" (KL {_range(ends)})" if ends else ""
