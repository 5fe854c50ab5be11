"""Writes the pages in reference/ from the code: families of objectives, stages, records, commands."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from overopt.cli.parser import command_line
from overopt.config.describing import describe_fields, shown_default
from overopt.objectives.dictionary import WHERE, find_objectives, split_docstring, translation
from overopt.records.legend import ALL, EVALUATIONS, JUDGEMENTS, METRICS, PAIR_EVALUATIONS, SAMPLES, Meaning
from overopt.training.stages import STAGES

FAMILIES = {
    "pair_losses": ("Losses of pairs", ["pair_loss"]),
    "ranking_losses": ("Losses of rankings", ["ranking_loss"]),
    "reward_losses": ("Losses of reward models", ["reward_loss"]),
    "regularizers": ("Regularizers", ["reward_regularizer", "loss_regularizer"]),
    "advantages": ("Advantages", ["advantage"]),
    "policy_losses": ("Policy losses", ["policy_loss"]),
    "controllers": ("Controllers of coefficients", ["controller"]),
    "missing_eos": ("Completions that did not end", ["missing_eos"]),
}
"""Module of objectives -> title of its page, and the kinds of objectives on it."""

ALSO = {"policy_losses": "aggregation"}
"""Module of objectives -> another module whose docstring is shown on the same page."""

SUBTITLES = {"reward_regularizer": "In the reward", "loss_regularizer": "In the loss"}

NOTATION = r"""
$\ell = \log \pi(y|x)$ is summed over the $|y|$ tokens of a completion, EOS included, in nats; $w$ and $l$ are the
chosen and the rejected completion, $\mathrm{ref}$ the reference, $\sigma$ the logistic function; $\mathrm{sg}$ stops
gradients and $\mathrm{NLL}$ is a negative log-likelihood. Online, $R_j$ is the shaped reward of completion $j$ of a
prompt's $G$.
"""


def write(folder: Path) -> None:
    """Write all pages into a folder, and remove pages that an earlier version of the code wrote."""
    folder.mkdir(exist_ok=True)
    pages = {name: family(name) for name in FAMILIES}
    pages |= {"configuration": configuration(), "records": records(), "commands": commands()}
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:  # Sphinx does not rebuild an unchanged page
            path.write_text(text, encoding="utf-8")


def formulas() -> dict[str, dict[str, str]]:
    """Return the formulas in LaTeX: kind -> name -> formula."""
    tree: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "formulas.yaml").read_text("utf-8"))
    return tree


def family(name: str) -> str:
    """Return the page of a family: the docstring of its module, then each objective with its formula."""
    title, kinds = FAMILIES[name]
    parts = [f"# {title}", *(_prose(_module_doc(module)) for module in (name, ALSO.get(name)) if module), NOTATION]
    for kind in kinds:
        parts += [f"## {SUBTITLES[kind]}"] if len(kinds) > 1 else []
        stage, _, key = WHERE[kind].partition(": ")
        parts += [f"Stage `{stage}`, key `{key}`."]
        parts += [_objective(row, cls, 2 + (len(kinds) > 1)) for row, cls in find_objectives() if row["kind"] == kind]
    return "\n\n".join(parts) + "\n"


def _module_doc(module: str) -> str:
    return inspect.getdoc(importlib.import_module(f"overopt.objectives.{module}")) or ""


def _objective(row: dict[str, Any], cls: type, level: int) -> str:
    first, rest = split_docstring(cls)
    heading = f"{'#' * level} `{row['name']}`"
    parts = [heading, _prose(first), f"$$\n{formulas()[row['kind']][row['name']]}\n$$", _prose(rest)]
    parts += [_fields(row["fields"])] if row["fields"] else []
    needs = ", ".join(f"`{need}`" for need in row["needs"]) or "nothing more"
    facts = [f"Needs: {needs}", f"Source: {_prose(row['source'])}", f"As text: `{row['formula']}`"]
    names = {"trl": "TRL", "openrlhf": "OpenRLHF", "verl": "verl"}
    facts += [f"{names[key]}: `{translation(key, words)}`" for key, words in row["elsewhere"].items()]
    return "\n\n".join([part for part in parts if part] + ["\n".join(f"- {fact}" for fact in facts)])


def _fields(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        default = f"`{_cell(shown_default(dict(row)))}`" if "default" in row else "required"
        lines.append(f"| `{row['name']}` | {_cell(row['type'])} | {default} | {_cell(_prose(row['doc']))} |")
    return "\n".join(lines)


def configuration() -> str:
    """Return the page with every field of every stage."""
    parts = [
        "# Configuration",
        "Every key of every stage's YAML. The objectives that a key accepts are on the pages of their families.",
    ]
    for name, cls in STAGES.items():
        first, rest = split_docstring(cls)
        parts += [f"## `stage: {name}`", _prose(first), _prose(rest), _fields(describe_fields(cls))]
    return "\n\n".join(part for part in parts if part) + "\n"


def records() -> str:
    """Return the page with every number that a run records."""
    legends = {
        "`metrics.jsonl`": (METRICS, "One line per update."),
        "`evaluations.jsonl`, `evaluations/JUDGE.jsonl`": (
            EVALUATIONS,
            "One line per evaluated checkpoint; a missing value is null or absent.",
        ),
        "`evaluations.jsonl`, judge `pairs`": (
            PAIR_EVALUATIONS,
            "Evaluations on held-out preferences; those of an offline run also contain its metrics on them.",
        ),
    }
    parts = ["# Records", "What a run directory contains. Log-probabilities are in nats, at the sampling temperature."]
    for title, (legend, text) in legends.items():
        parts += [f"## {title}", text, _meanings(legend)]
    for title, columns in {"samples": SAMPLES, "judgements": JUDGEMENTS}.items():
        rows = "\n".join(f"| `{name}` | {_cell(text)} |" for name, text in columns.items())
        parts += [f"## `{title}/step-N.parquet`", f"| column | meaning |\n|---|---|\n{rows}"]
    return "\n\n".join(parts) + "\n"


def _meanings(legend: Mapping[str, Meaning]) -> str:
    lines = ["| name | unit | meaning | stages |", "|---|---|---|---|"]
    for name, entry in legend.items():
        where = "all" if entry.stages == ALL else ", ".join(entry.stages)
        text = f"{entry.text} (if {entry.condition})" if entry.condition else entry.text
        lines.append(f"| `{name}` | {entry.unit} | {_cell(_prose(text))} | {where} |")
    return "\n".join(lines)


def commands() -> str:
    """Return the page with the `--help` text of every command."""
    os.environ["COLUMNS"] = "100"  # argparse wraps to the terminal otherwise
    main = command_line()
    parts = ["# Command line", f"```text\n{main.format_help().strip()}\n```"]
    for action in main._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                parts.append(f"## `overopt {name}`\n\n```text\n{verb.format_help().strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _prose(text: str) -> str:
    """Return a docstring as Markdown, in which neither the bars of a divergence nor a dollar sign are markup."""
    return re.sub(r"\|\| *", "‖ ", text).replace("$", r"\$")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
