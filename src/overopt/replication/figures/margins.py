"""Figure 4: how much more likely the reference finds the chosen completion, by batch of DPO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overopt.analysis.report.figures.drawing import LINE_POINTS, Columns, Panel, table_of, thin
from overopt.replication.figures.drawing import (
    BLUE,
    COLUMN,
    Figure,
    Line,
    make_block,
    panel,
    panel_of,
    scale_text,
    settings,
)
from overopt.replication.figures.over_seeds import mean_text, series
from overopt.replication.figures.wording import sentence, trend_says
from overopt.replication.members import Member, Members, Points

MARGIN = "log π_ref(chosen) − log π_ref(rejected), nats"
margins = series("ref_margin")


def draw_figure_4(members: Members) -> Figure | None:
    runs = [run for run in members.of("DPO-1B") if margins(run) is not None]
    line = Line("mean", runs, BLUE)
    drawn = panel("figure-4", MARGIN, [line], margins, domain=_domain(runs)) if runs else None
    if drawn is None:
        return None
    block = make_block("", [_with_batches(drawn, [found for run in runs if (found := margins(run))])])
    assert block is not None
    values = np.concatenate([points[1] for run in runs if (points := margins(run))])
    low, high = np.quantile(values, [0.05, 0.95])
    means = [float(points[1].mean()) for run in runs if (points := margins(run))]
    side = "negative" if np.mean(means) < 0 else "positive"
    shows = sentence(
        f"the batch means have a mean of {mean_text(means)} nats ({side}) and 90 % of them lie between {low:.2f} and"
        f" {high:.2f}",
        trend_says("the margin", runs, margins),
        *_beside_gamma(members, runs, float(np.mean(means))),
    )
    caption = (
        "Thin: the batches of one seed. Thick: the mean over seeds, averaged over blocks of updates, with its 95 %"
        " interval. Gray: 5 to 95 % of the batches of all seeds. The reference is frozen: a trend would be one of the"
        " data's order."
    )
    return Figure(
        "figure-4", "Figure 4. The reference's margins", shows, caption, scale_text(members), (block,), COLUMN, 110
    )


def _domain(runs: Sequence[Member]) -> tuple[float, float]:
    values = np.concatenate([points[1] for run in runs if (points := margins(run))])
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def _with_batches(line: Panel, found: Sequence[Points]) -> Panel:
    """The panel with the batches of the first seed and 5 to 95 % of all batches, below the line."""
    low, high = np.quantile(np.concatenate([values for _, values in found]), [0.05, 0.95])
    data: dict[str, Columns] = {
        "figure-4-region": table_of(("low", "high"), [(low, high)]),
        "figure-4-batches": table_of(("x", "y"), zip(*thin(*found[0], LINE_POINTS), strict=True)),
    }
    scale = line.spec["layer"][0]["encoding"]["y"]
    at = line.spec["layer"][0]["encoding"]["x"]
    layers = [
        {
            "data": {"name": "figure-4-region"},
            "mark": {"type": "rect", "color": "#808080", "opacity": 0.18},
            "encoding": {"y": scale | {"field": "low"}, "y2": {"field": "high"}},
        },
        {
            "data": {"name": "figure-4-batches"},
            "mark": {"type": "line", "strokeWidth": 0.5, "color": "#999999"},
            "encoding": {"x": at, "y": scale | {"field": "y"}},
        },
    ]
    return panel_of(line.title, [*layers, *line.spec["layer"]], data | line.data)


def _beside_gamma(members: Members, runs: Sequence[Member], mean: float) -> list[str]:
    """The margin as DPO's loss sees it and per token, beside SimPO's gamma (per token, within the sigmoid)."""
    said = []
    loss = runs[0].config.get("loss", {})
    if "beta" in loss:
        said.append(f"within DPO's sigmoid that is β m = {loss['beta'] * mean:.3f}")
    if (tokens := _tokens(runs)) is not None:
        said.append(f"per token of a chosen completion {mean / tokens:.3f} nats")
    gammas = settings(members, ["SIMPO-1B-2e-7", "SIMPO-1B-1e-6"], "gamma")
    simpo = [run.config.get("loss", {}) for run in members.of("SIMPO-1B-2e-7")]
    if gammas:
        text = f"SimPO subtracts γ of {', '.join(f'{gamma:g}' for gamma in gammas)}"
        if simpo and "alpha" in simpo[0]:
            text += f" (γ/α up to {max(gammas) / simpo[0]['alpha']:.3g} nats per token)"
        said.append(text)
    return said


def _tokens(runs: Sequence[Member]) -> float | None:
    """The chosen completions' mean length, from their log-probabilities as sums and as means per token."""
    sums, means = (
        [points[1][0] for run in runs if (points := series(name)(run)) is not None]
        for name in ("logps_chosen_sum", "logps_chosen_mean")
    )
    return float(np.mean(sums) / np.mean(means)) if sums and means and np.mean(means) else None
