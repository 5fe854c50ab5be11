"""Figures 7, 8 and 9: metrics of training on pairs, SimPO at two learning rates and DPO."""

from __future__ import annotations

from collections.abc import Sequence

from overopt.replication.figures.drawing import (
    BLUE,
    Figure,
    Line,
    colors_of,
    grid,
    make_block,
    panel,
    scale_text,
    win_rate_legend,
)
from overopt.replication.figures.over_seeds import mean_text, series
from overopt.replication.figures.wording import end_of, sentence, start_of, trend_says, win_rates_say
from overopt.replication.members import Members

PANELS = {
    "loss": "loss",
    "grad_norm": "gradient norm",
    "rewards_acc": "reward accuracy",
    "rewards_margin": "reward margin",
    "logits_chosen": "mean logit, chosen",
    "logits_rejected": "mean logit, rejected",
    "rewards_chosen": "reward, chosen",
    "rewards_rejected": "reward, rejected",
    "logps_chosen_sum": "log π, chosen",
    "logps_rejected_sum": "log π, rejected",
    "logps_chosen_mean": "log π/token, chosen",
    "logps_rejected_mean": "log π/token, rejected",
}

LOGP = series("logps_chosen_mean")

CAPTION = (
    "Lines: means over seeds of batches, averaged over blocks of updates; bands: 95 % intervals over seeds. Rewards are"
    " the loss's own. Log-probabilities in nats as sums and per token for both methods: those of SimPO and DPO compare,"
    " their losses and rewards do not."
)


def draw_figure_7(members: Members) -> Figure | None:
    return _simpo(members, "figure-7", "Figure 7. SimPO at the low learning rate (2e-7), 1B", "SIMPO-1B-2e-7")


def draw_figure_8(members: Members) -> Figure | None:
    return _simpo(members, "figure-8", "Figure 8. SimPO at the high learning rate (1e-6), 1B", "SIMPO-1B-1e-6")


def draw_figure_9(members: Members) -> Figure | None:
    runs = members.of("DPO-1B")
    return _draw(members, "figure-9", "Figure 9. DPO, 1B", [Line("DPO", runs, BLUE)] if runs else [], "loss")


def _simpo(members: Members, name: str, title: str, row: str) -> Figure | None:
    return _draw(members, name, title, grid(members, row, "gamma", colors_of(members, [row], "gamma")), "γ")


def _draw(members: Members, name: str, title: str, lines: Sequence[Line], setting: str) -> Figure | None:
    panels = [panel(f"{name}-{metric}", text, lines, series(metric)) for metric, text in PANELS.items()]
    block = make_block("", panels, win_rate_legend(lines, setting), per_row=4)
    if block is None:
        return None
    return Figure(name, title, _says(lines), CAPTION, scale_text(members), (block,), height=58)


def _says(lines: Sequence[Line]) -> str:
    runs = [run for line in lines for run in line.runs]
    moves = [found for line in lines if (found := _move(line))]
    chosen = "log π of the chosen completion"
    return sentence(
        f"{chosen} moves by {', '.join(moves)} nats per token" if moves else "",
        trend_says("it", runs, LOGP) if moves else "",
        trend_says("the reward margin", runs, series("rewards_margin")),
        win_rates_say(runs),
    )


def _move(line: Line) -> str:
    """How far log π of the chosen completion moves from its first batches to its last, mean over seeds."""
    found = [points for run in line.runs if (points := LOGP(run)) is not None and len(points[0])]
    moves = [end_of(points) - start_of(points) for points in found]
    where = "" if line.entry == "DPO" else f" at γ = {line.entry}"
    return f"{mean_text(moves)}{where}" if moves else ""
