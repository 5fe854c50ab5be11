"""The card of a run's model: what was optimized and how it came out, its settings, and what it was made from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from overopt.analysis.charts import write_chart
from overopt.analysis.run_summary import RunSummary, evaluations_of, summarize_run, verdict
from overopt.analysis.study_figure import curve_of, win_rate_and_proxy
from overopt.analysis.text import escape_controls, percent
from overopt.records import Run
from overopt.redaction import redact

CARD, FIGURE, SETTINGS = "README.md", "figure.png", "overopt.yaml"
PATH = re.compile(r"^(?:\.{0,2}|~|[A-Za-z]:)[/\\]|^[^\s/]+(?:[/\\][^\s/\\]+)+$")
"""A text that is a path on some machine; a name on the Hub in full is none."""
NUMBERS = {
    "win_rate": "win rate", "sft_win_rate": "win rate at step 0", "peak_win_rate": "win rate of the best checkpoint",
    "proxy_start": "proxy (reward model's score) at step 0", "proxy_end": "proxy at the end",
    "gold_start": "gold reward at step 0", "gold_end": "gold reward at the end",
    "kl_ref": "KL to the reference, nats per completion",
}  # fmt: skip
PAIRS = ("accuracy", "gold_agreement", "above_baselines", "n")
"""What the last evaluation of a reward model measured."""


def write_card(run: Run, folder: Path, name: str) -> None:
    """Write the card, a figure where there is something to draw, and the settings of a run into a folder.

    `name` is the model's title. Neither secrets nor paths of this machine are written.
    """
    row = summarize_run(name, run.config, run)
    drawn = any("win_rate" in evaluation for evaluation in evaluations_of(run))
    if drawn:
        write_chart(win_rate_and_proxy([curve_of(name, run, row.label)], name, row.sft_win_rate), folder / FIGURE)
    settings = redact(yaml.safe_dump(_published(run.config), sort_keys=False, allow_unicode=True))
    (folder / SETTINGS).write_text(settings, encoding="utf-8")
    (folder / CARD).write_text(redact(_card(run, row, settings, name, drawn)), encoding="utf-8")


def _card(run: Run, row: RunSummary, settings: str, name: str, drawn: bool) -> str:
    lines = ["---", yaml.safe_dump(_front(run), sort_keys=False).strip(), "---", "", f"# {escape_controls(name)}", ""]
    lines += [f"Trained with overopt, stage `{run.stage}`, {_objective(row)}.", ""]
    lines += ["## Outcome", "", *_outcome(run, row), ""]
    lines += [f"![win rate and proxy over training]({FIGURE})", ""] if drawn else []
    lines += ["## Made from", "", *_origin(run), "", "## Settings", "", "```yaml", settings.rstrip(), "```", ""]
    return "\n".join(lines)


def _front(run: Run) -> dict[str, Any]:
    """The fields that the Hub reads."""
    task = "text-classification" if run.stage == "reward_model" else "text-generation"
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": task, "tags": ["overopt", run.stage]}
    started = [p for p in run.info.get("parents", []) if p["role"].partition(".")[0] in ("policy", "model")]
    named = [_hub_name(str(parent.get("location", parent.get("path", "")))) for parent in started]
    return front | ({"base_model": named[-1]} if named and named[-1] else {})  # below adapters lies a model


def _objective(row: RunSummary) -> str:
    objective = f"objective {row.objective}" + (f", coefficient {row.coefficient:g}" if row.coefficient else "")
    return objective + (f", learning rate {row.lr:g}" if row.lr else "")


def _outcome(run: Run, row: RunSummary) -> Iterator[str]:
    if row.label is not None:
        yield f"**{row.label}**: {escape_controls(verdict(row))}"
    elif row.reason:
        yield f"No label: {escape_controls(row.reason)}."
    else:
        yield "No judge has compared this model's completions."
    last = (run.evaluations() or [{}])[-1]
    found = {title: getattr(row, field) for field, title in NUMBERS.items()}
    if run.stage == "reward_model":
        found |= {f"{field} on held-out pairs": last.get(field) for field in PAIRS}
    numbers = {title: value for title, value in found.items() if isinstance(value, int | float)}
    if numbers:
        yield from ("", "| measured | |", "|---|---|")
        for title, value in numbers.items():
            yield f"| {title} | {percent(value) if title.startswith('win rate') else f'{value:.4g}'} |"
    if row.judge:
        yield from ("", f"Judge: `{escape_controls(row.judge)}`; split: {last.get('split', 'unknown')}.")


def _origin(run: Run) -> Iterator[str]:
    info = run.info
    yield from ("| | | |", "|---|---|---|")
    for parent in info.get("parents", []):
        location = _short(str(parent.get("location", parent["path"])))
        known = f"commit `{parent['commit']}`" if parent.get("commit") else f"hash `{parent['hash'][:12]}`"
        yield f"| {parent['role']} | {location} | {known} |"
    for address, digest in info.get("data", {}).items():
        pin = info.get("hub", {}).get(address.replace("evaluation_split", "path"), {})  # a split of the same data set
        place, known = (f" {pin['location']}", f"commit `{pin['commit']}`, ") if pin else ("", "")
        yield f"| data: {address} |{place} | {known}hash `{digest[:12]}` |"
    versions = ", ".join(f"{package} {version}" for package, version in (info.get("versions") or {}).items())
    commit = str(info.get("commit", ""))[:12] + (" with changes" if info.get("diff_hash") else "")
    yield f"| code | {versions} | {f'commit `{commit}`' if commit else ''} |"
    made = f"{info.get('steps', '?')} steps, seed {info.get('seed', '?')}, {run.status}"
    yield f"| run | {made} | hash `{run.hash()[:12]}` |"


def _published(tree: Any) -> Any:
    """A configuration without what is of this machine alone: of a path the last part is kept."""
    if isinstance(tree, Mapping):
        return {key: _published(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_published(value) for value in tree]
    return _short(tree) if isinstance(tree, str) else tree


def _short(text: str) -> str:
    is_path = PATH.search(text) is not None and _hub_name(text) is None
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if is_path else text


def _hub_name(location: str) -> str | None:
    """OWNER/NAME of a model's location in full on the Hub; None for a path."""
    found = re.match(r"hf://(?!datasets/)([^/@]+/[^/@]+)", location)
    return found[1] if found else (location if location.startswith("hf://") else None)
