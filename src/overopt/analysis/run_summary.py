"""The summary of a run from its record: what was optimized, proxy and win rate at start and end, and a verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from overopt.analysis.text import percent, signed
from overopt.errors import UserError
from overopt.outcomes import JUDGED_STAGES, judged_rows, judges_of, label
from overopt.records import Run

SUMMARY_FIELDS = (
    "run", "objective", "coefficient", "lr", "label", "win_rate", "win_rate_low", "win_rate_high", "sft_win_rate",
    "proxy_start", "proxy_end", "gold_start", "gold_end", "kl_ref", "gate", "other_judges",
)  # fmt: skip
"""The fields of an object of `summary.json`."""


@dataclass(frozen=True)
class Judged:
    """What one judge makes of a run. None: not known."""

    judge: str | None
    judge_hash: str | None = None
    """What the judge was when it judged; None for the judge that the run was trained with."""
    label: str | None = None
    reason: str = ""
    """Why there is this label, or none."""
    win_rate: float | None = None
    """At the last checkpoint that it judged."""
    win_rate_low: float | None = None
    win_rate_high: float | None = None
    sft_win_rate: float | None = None


@dataclass(frozen=True)
class RunSummary:
    """The numbers of a run that tables show. None: not known, or not applicable."""

    run: str
    objective: str
    coefficient: float | None = None
    lr: float | None = None
    label: str | None = None
    """The outcome; None behind a closed gate or if the record does not suffice, for the reason in `reason`."""
    win_rate: float | None = None
    win_rate_low: float | None = None
    win_rate_high: float | None = None
    sft_win_rate: float | None = None
    """Win rate at step 0: every run starts as the SFT policy and is evaluated on the same prompts."""
    proxy_start: float | None = None
    proxy_end: float | None = None
    gold_start: float | None = None
    gold_end: float | None = None
    kl_ref: float | None = None
    """KL to the reference at the end, nats per sequence."""
    gate: str | None = None
    """The closed gate before this run."""
    reason: str = ""
    diverged_at: int | None = None
    """The step at which the run diverged, if it did."""
    stopped_at: int | None = None
    """The step at which a condition stopped the run, if one did."""
    go_back_to: int | None = None
    """The best step by then."""
    peak_win_rate: float | None = None
    """Win rate of the best checkpoint, if the last one is significantly worse."""
    judge: str | None = None
    """Whose label and win rates these are: the judge that the run was trained with, unless another was asked for."""
    judge_hash: str | None = None
    others: tuple[Judged, ...] = ()
    """What other judges make of the run."""

    def by(self, judge: str | None) -> Judged | None:
        """What a judge makes of the run; None if it judged nothing."""
        if judge == self.judge:
            same = {field.name: getattr(self, field.name) for field in fields(Judged)}
            return Judged(**same)
        return next((other for other in self.others if other.judge == judge), None)

    def summary(self) -> dict[str, Any]:
        """The object of `summary.json`."""
        row = asdict(self)
        row["other_judges"] = {other.pop("judge"): other for other in row["others"]}
        return {name: row[name] for name in SUMMARY_FIELDS}


def summarize_run(
    name: str,
    config: Mapping[str, Any],
    run: Run | None,
    *,
    gate: str | None = None,
    reason: str = "",
    judges: Sequence[str] = (),
) -> RunSummary:
    """Summarize a run. `run` is None if it left no record.

    A `reason` or a closed `gate` explains why the run has no label. The first of `judges` gives label and win rates,
    and the others are told beside it; by default the run's own judge comes first and every other one follows.
    """
    objective, coefficient = objective_of(config)
    row = RunSummary(
        run=name, objective=objective, coefficient=coefficient, lr=config.get("lr"), gate=gate, reason=reason
    )
    if run is None:
        return row
    judges = judges or judges_of(run)
    first = judges[0] if judges else None
    withheld = bool(reason) or gate is not None
    told = tuple(_judged(run, judge, withheld) for judge in judges[1:])
    row = replace(row, **_numbers(evaluations_of(run, first)), judge=first, others=told)
    if first is not None and not is_own(run, first):
        row = replace(row, **_win_rates(judged_rows(run, first)))
    if withheld:
        return row
    ends: dict[str, Any] = {name: run.info.get(name) for name in ("diverged_at", "stopped_at", "go_back_to")}
    outcome = label(run, judge=first)
    peak = outcome.numbers["peak_win_rate"] if outcome.past_peak else None
    return replace(row, **ends, label=outcome.label, reason=outcome.reason, peak_win_rate=peak)


def describe_baselines(run: Run) -> str:
    """One sentence that compares a reward model on held-out pairs with counts of words; empty if not recorded."""
    row = next((row for row in reversed(run.evaluations()) if "above_baselines" in row), None)
    if row is None:
        return ""
    known = {"gold_agreement": "gold", "accuracy": "the labels"}
    right, of = next((row[name], what) for name, what in known.items() if name in row)
    counts = {name: row[f"baseline_{name}_agreement"] for name in ("length", "words", "content")}
    best, lead = max(counts, key=lambda name: counts[name]), row["above_baselines"]
    return (
        f"{run.name}: orders {right:.0%} of the held-out pairs as {of}; counting reaches {counts[best]:.0%} ({best}), "
        f"{abs(lead):.1f} standard errors {'below' if lead >= 0 else 'above'}"
    )


def evaluations_of(run: Run, judge: str | None = None) -> list[dict[str, Any]]:
    """The evaluations of a run's completions by step, without those of held-out pairs.

    Of a judge other than the run's own, what it judged takes the place of what the run's own judge did.
    """
    own = [row for row in run.evaluations() if "win_rate" in row or "proxy_mean" in row]
    if judge is None or is_own(run, judge):
        return own
    judged = {row["step"]: row for row in judged_rows(run, judge)}
    split = next((row.get("split") for row in judged.values()), None)
    measured = {
        row["step"]: {name: value for name, value in row.items() if not _JUDGED.fullmatch(name)}
        for row in own
        if split in (None, row.get("split"))
    }
    steps = sorted(judged.keys() | measured.keys())
    return [{**measured.get(step, {}), **judged.get(step, {}), "judge": judge} for step in steps]


_JUDGED = re.compile(r"judge.*|win.*|n|ties|losses|invalid|first_position_rate|order_consistency|date")
"""Names of an evaluation's values that depend on the judge."""


def check_judges(judges: Sequence[str], runs: Iterable[Run]) -> None:
    """UserError for a judge that has judged none of some runs; those that have are named."""
    if not judges:
        return
    found = list(dict.fromkeys(judge for run in runs if run.stage in JUDGED_STAGES for judge in run.judges()))
    if unknown := [judge for judge in judges if judge not in found]:
        there = f"these runs were judged by {', '.join(found)}" if found else "nobody has judged these runs"
        raise UserError(f"--judge {unknown[0]}: {there}; see `overopt evaluate`")


def is_own(run: Run, judge: str) -> bool:
    """Whether a judge is the one that the run was trained with."""
    return any(row.get("judge") == judge for row in run.evaluations())


def _judged(run: Run, judge: str, withheld: bool) -> Judged:
    found = Judged(judge, **_win_rates(judged_rows(run, judge)))
    if withheld:
        return found
    outcome = label(run, judge=judge)
    return replace(found, label=outcome.label, reason=outcome.reason)


def _win_rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The last win rate with its interval and its judge's hash, and SFT's."""
    first, last = (rows[0], rows[-1]) if rows else ({}, {})
    rates = {name: last.get(name) for name in ("win_rate", "win_rate_low", "win_rate_high", "judge_hash")}
    return {**rates, "sft_win_rate": first.get("win_rate") if first.get("step") == 0 else None}


def objective_of(config: Mapping[str, Any]) -> tuple[str, float | None]:
    """Name and coefficient of the regularizers of an online run, or of the loss of an offline run."""
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
    """What happened in a sentence, and a second sentence if the run diverged or was stopped."""
    ends = f" The run diverged at step {row.diverged_at}." if row.diverged_at is not None else ""
    if row.stopped_at is not None:
        ends += f" Stopped early at step {row.stopped_at}; go back to step {row.go_back_to}."
    return _sentence(row) + ends


def _sentence(row: RunSummary) -> str:
    if row.gate is not None:
        return f"Not judged: {row.reason or f'the gate {row.gate} failed'}."
    if row.label is None:
        return f"Not judged: {row.reason or 'its record does not suffice'}."
    rate = f"from {percent(row.sft_win_rate)} (SFT) to {percent(row.win_rate)}"
    peak = f", after a peak of {percent(row.peak_win_rate)}" if row.peak_win_rate is not None else ""
    proxy = f"the proxy went from {signed(row.proxy_start)} to {signed(row.proxy_end)}"
    match row.label:
        case "OVER":
            return f"Over-optimized: {proxy} while the win rate fell {rate}."
        case "OVER-PEAK":
            return f"Over-optimized past its peak: {proxy}, but the win rate went {rate}{peak}."
        case "COLLAPSE":
            return f"Broke down: the win rate fell {rate} without a clear rise of the proxy; {proxy}."
        case "GOOD":
            return f"Improved: the win rate rose {rate}{peak}; {proxy}."
        case "STALL":
            return f"Stalled: neither proxy nor win rate moved ({rate})."
        case "FLAT":
            return f"No clear change of the win rate ({rate}), although {proxy}."
    return f"{row.label}: the win rate went {rate}; {proxy}."


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
    """A number, or None for a controller, which has no single coefficient."""
    return float(value) if isinstance(value, int | float) else None
