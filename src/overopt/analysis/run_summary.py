"""One row a run, from its record: what was optimized, what it did to proxy and win rate, and a verdict in words."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from overopt.outcomes import label
from overopt.records import Run

SUMMARY = (
    "run", "objective", "coefficient", "lr", "label", "win_rate", "win_rate_low", "win_rate_high", "sft_win_rate",
    "proxy_start", "proxy_end", "gold_start", "gold_end", "kl_ref", "gate",
)  # fmt: skip
"""The fields of an object of `summary.json`."""

COLUMNS = (
    "run", "objective", "coef", "lr", "outcome", "win rate (95 %)", "SFT", "proxy", "gold", "KL",
)  # fmt: skip


@dataclass(frozen=True)
class RunSummary:
    """What a table says of a run. None: not known, or not applicable."""

    run: str
    objective: str
    coefficient: float | None = None
    lr: float | None = None
    label: str | None = None
    """Outcome; None behind a failed gate or if the record does not suffice, and then `reason` says why."""
    win_rate: float | None = None
    win_rate_low: float | None = None
    win_rate_high: float | None = None
    sft_win_rate: float | None = None
    """At step 0: every run starts as the SFT policy, and is evaluated on the same prompts."""
    proxy_start: float | None = None
    proxy_end: float | None = None
    gold_start: float | None = None
    gold_end: float | None = None
    kl_ref: float | None = None
    """KL to the reference at the end, nats per sequence."""
    gate: str | None = None
    """The gate that failed before this run."""
    reason: str = ""
    diverged_at: int | None = None
    """The step at which the loss broke, if it did."""
    stopped_at: int | None = None
    """The step at which the run was stopped in time, if it was."""
    go_back_to: int | None = None
    """And the one that was best by then."""
    peak_win_rate: float | None = None
    """The best checkpoint's, if the last one is significantly worse."""

    def summary(self) -> dict[str, Any]:
        row = asdict(self)
        return {name: row[name] for name in SUMMARY}


def summarize_run(
    name: str, config: Mapping[str, Any], run: Run | None, *, gate: str | None = None, reason: str = ""
) -> RunSummary:
    """A run's row. `run` is None if it left no record; then `reason` says why, as for a `gate` that failed."""
    objective, coefficient = objective_of(config)
    row = RunSummary(
        run=name, objective=objective, coefficient=coefficient, lr=config.get("lr"), gate=gate, reason=reason
    )
    if run is None:
        return row
    found = _numbers(evaluations_of(run))
    if reason or gate is not None:
        return RunSummary(**asdict(row) | found)
    found |= {name: run.info.get(name) for name in ("diverged_at", "stopped_at", "go_back_to")}
    outcome = label(run)
    peak = outcome.numbers["peak_win_rate"] if outcome.past_peak else None
    return RunSummary(**asdict(row) | found | {"label": outcome.label, "reason": outcome.reason, "peak_win_rate": peak})


def describe_baselines(run: Run) -> str:
    """What a reward model's held-out pairs say of it beside counts of words; empty if its record does not."""
    row = next((row for row in reversed(run.evaluations()) if "above_baselines" in row), None)
    if row is None:
        return ""
    known = {"gold_agreement": "gold", "accuracy": "the labels"}
    right, of = next((row[name], what) for name, what in known.items() if name in row)
    counts = {name: row[f"baseline_{name}_agreement"] for name in ("length", "words", "content")}
    best = max(counts, key=lambda name: counts[name])
    return (
        f"{run.name}: orders {right:.0%} of the held-out pairs as {of}; counting reaches {counts[best]:.0%} ({best}), "
        f"{row['above_baselines']:.1f} standard errors below"
    )


def evaluations_of(run: Run) -> list[dict[str, Any]]:
    """The evaluations a run made of its completions, by step; those of held-out pairs are left out."""
    return [row for row in run.evaluations() if "win_rate" in row or "proxy_mean" in row]


def objective_of(config: Mapping[str, Any]) -> tuple[str, float | None]:
    """Name and strength of what was optimized: the regularizers of an online run, the loss of an offline one."""
    if "regularizers" in config:
        regularizers = [*config["regularizers"], *config.get("loss_regularizers", [])]
        blocks = [_block(regularizer) for regularizer in regularizers]
        if not blocks:
            return "none", 0.0
        coefficient = blocks[0].get("coef") if len(blocks) == 1 else None
        return "+".join(str(block["name"]) for block in blocks), _number(coefficient)
    loss = _block(config.get("loss", "?"))
    return str(loss["name"]), _number(loss.get("beta", loss.get("alpha")))


def verdict(row: RunSummary) -> str:
    """One sentence: what happened, and whether it is what one wants; another if the run diverged."""
    diverged = f" The run diverged at step {row.diverged_at}." if row.diverged_at is not None else ""
    return _sentence(row) + diverged + _stopped(row)


def _stopped(row: RunSummary) -> str:
    if row.stopped_at is None:
        return ""
    return f" Stopped in time at step {row.stopped_at}; go back to step {row.go_back_to}."


def _sentence(row: RunSummary) -> str:
    if row.gate is not None:
        return f"Not judged: {row.reason or f'the gate {row.gate} failed'}."
    if row.label is None:
        return f"Not judged: {row.reason or 'its record does not suffice'}."
    rate = f"from {_percent(row.sft_win_rate)} (SFT) to {_percent(row.win_rate)}"
    peak = f", after a peak of {_percent(row.peak_win_rate)}" if row.peak_win_rate is not None else ""
    proxy = f"the proxy went from {_signed(row.proxy_start)} to {_signed(row.proxy_end)}"
    match row.label:
        case "OVER":
            return f"Over-optimized: {proxy} while the win rate fell {rate}."
        case "OVER-PEAK":
            return f"Over-optimized past its peak: {proxy}, but the win rate ended {rate}{peak}."
        case "COLLAPSE":
            return f"Broke down: the win rate fell {rate} without a clear rise of the proxy; {proxy}."
        case "GOOD":
            return f"Improved: the win rate rose {rate}{peak}; {proxy}."
        case "STALL":
            return f"Stalled: neither proxy nor win rate moved ({rate})."
        case "FLAT":
            return f"No clear change of the win rate ({rate}), although {proxy}."
    return f"{row.label}: the win rate went {rate}; {proxy}."


def text_table(rows: Sequence[RunSummary]) -> str:
    """Aligned plain text, for pipes and logs."""
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def print_table(rows: Sequence[RunSummary], title: str = "", stream: TextIO | None = None) -> None:
    """Table and verdicts: in color on a terminal, as plain unwrapped text elsewhere."""
    stream = stream or sys.stdout
    if stream.isatty():
        _print_rich(rows, title, stream)
        return
    width = max((len(row.run) for row in rows), default=0)
    verdicts = "\n".join(f"{row.run.ljust(width)}  {verdict(row)}" for row in rows)
    print(*([title, ""] if title else []), text_table(rows), "", verdicts, sep="\n", file=stream, flush=True)


STYLES = {"GOOD": "green", "OVER": "bold red", "OVER-PEAK": "red", "COLLAPSE": "magenta"}


EXPENDABLE = ("objective", "gold", "KL", "coef", "lr", "proxy", "SFT")
"""Columns that a narrow terminal goes without, the first ones first; the run's name tells its objective."""


def _print_rich(rows: Sequence[RunSummary], title: str, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream)
    shown = _fitting([_cells(row) for row in rows], console.width)
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in shown:
        table.add_column(column, no_wrap=True)
    for row in rows:
        cells = dict(zip(COLUMNS, _cells(row), strict=True))
        style = STYLES.get(row.label or "", "")
        table.add_row(*(Text(cells[column], style if column == "outcome" else "") for column in shown))
    console.print(table)
    for row in rows:
        console.print(Text(row.run, "bold") + Text(f"  {verdict(row)}", "not bold"))


def _fitting(cells: Sequence[Sequence[str]], width: int) -> list[str]:
    """The columns that fit side by side, with the three places that a frame takes between them."""
    lines = [COLUMNS, *cells]
    widths = {name: max(len(line[place]) for line in lines) + 3 for place, name in enumerate(COLUMNS)}
    shown = list(COLUMNS)
    for name in EXPENDABLE:
        if sum(widths[column] for column in shown) + 2 > width:
            shown.remove(name)
    return shown


def _cells(row: RunSummary) -> tuple[str, ...]:
    interval = (
        f" ({row.win_rate_low:.2f}-{row.win_rate_high:.2f})"
        if row.win_rate_low is not None and row.win_rate_high is not None
        else ""
    )
    return (
        row.run,
        row.objective,
        _short(row.coefficient),
        _short(row.lr),
        row.label or ("gate" if row.gate else "-"),
        _fixed(row.win_rate) + interval,
        _fixed(row.sft_win_rate),
        f"{_signed(row.proxy_start)} -> {_signed(row.proxy_end)}",
        f"{_signed(row.gold_start)} -> {_signed(row.gold_end)}",
        "-" if row.kl_ref is None else f"{row.kl_ref:.1f}",
    )


def _numbers(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not evaluations:
        return {}
    first, last = evaluations[0], evaluations[-1]
    return {
        **{name: last.get(name) for name in ("win_rate", "win_rate_low", "win_rate_high", "kl_ref")},
        "sft_win_rate": first.get("win_rate") if first["step"] == 0 else None,
        "proxy_start": first.get("proxy_mean"),
        "proxy_end": last.get("proxy_mean"),
        "gold_start": first.get("gold_mean"),
        "gold_end": last.get("gold_mean"),
    }


def _block(choice: Any) -> Mapping[str, Any]:
    return choice if isinstance(choice, Mapping) else {"name": choice}


def _number(value: Any) -> float | None:
    """A coefficient that is a controller and no number has no single strength."""
    return float(value) if isinstance(value, int | float) else None


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _fixed(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{value:.0%}"
