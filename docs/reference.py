"""Writes the pages under reference/ from the code: the families of objectives, the stages, the records, the verbs."""

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
from overopt.objectives.dictionary import WHERE, about, found, translation
from overopt.records.legend import ALL, EVALUATIONS, METRICS, PAIR_EVALUATIONS, SAMPLES, Meaning
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
"""Module of the objectives -> its page's title, and its kinds."""

ALSO = {"policy_losses": "aggregation"}
"""A module whose docstring belongs on the page, too."""

SUBTITLES = {"reward_regularizer": "In the reward", "loss_regularizer": "In the loss"}

NOTATION = r"""
$\ell = \log \pi(y|x)$ is summed over the $|y|$ tokens of a completion, EOS included, in nats; $w$ and $l$ are the
chosen and the rejected completion, $\mathrm{ref}$ the reference, $\sigma$ the logistic function; $\mathrm{sg}$ stops
gradients and $\mathrm{NLL}$ is a negative log-likelihood. Online, $R_j$ is the shaped reward of completion $j$ of a
prompt's $G$.
"""


def write(folder: Path) -> None:
    """All pages; what another version of the code wrote is removed."""
    folder.mkdir(exist_ok=True)
    pages = {name: family(name) for name in FAMILIES}
    pages |= {"configuration": configuration(), "records": records(), "commands": commands()}
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:  # an unchanged page is not built again
            path.write_text(text, encoding="utf-8")


def formulas() -> dict[str, dict[str, str]]:
    """Kind -> name -> LaTeX."""
    tree: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "formulas.yaml").read_text("utf-8"))
    return tree


def family(name: str) -> str:
    """The page of a family: what its module says, and each objective with its formula."""
    title, kinds = FAMILIES[name]
    parts = [f"# {title}", *(_prose(_module_doc(module)) for module in (name, ALSO.get(name)) if module), NOTATION]
    for kind in kinds:
        parts += [f"## {SUBTITLES[kind]}"] if len(kinds) > 1 else []
        stage, _, key = WHERE[kind].partition(": ")
        parts += [f"Stage `{stage}`, key `{key}`."]
        parts += [_objective(row, cls, 2 + (len(kinds) > 1)) for row, cls in found() if row["kind"] == kind]
    return "\n\n".join(parts) + "\n"


def _module_doc(module: str) -> str:
    return inspect.getdoc(importlib.import_module(f"overopt.objectives.{module}")) or ""


def _objective(row: dict[str, Any], cls: type, level: int) -> str:
    first, rest = about(cls)
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
    """Every field of every stage."""
    parts = [
        "# Configuration",
        "Every key of every stage's YAML. Which names a choice has, its family's page explains.",
    ]
    for name, cls in STAGES.items():
        first, rest = about(cls)
        parts += [f"## `stage: {name}`", _prose(first), _prose(rest), _fields(describe_fields(cls))]
    return "\n\n".join(part for part in parts if part) + "\n"


def records() -> str:
    """Every number that a run records."""
    legends = {
        "`metrics.jsonl`": (METRICS, "One line per update."),
        "`evaluations.jsonl`": (EVALUATIONS, "One line per checkpoint; an absent value is null or left out."),
        "`evaluations.jsonl`, judge `pairs`": (
            PAIR_EVALUATIONS,
            "Held-out preferences; the lines of an offline run also hold its metrics on them.",
        ),
    }
    parts = ["# Records", "What a run directory holds. Log-probabilities are nats, at the sampling temperature."]
    for title, (legend, text) in legends.items():
        parts += [f"## {title}", text, _meanings(legend)]
    rows = "\n".join(f"| `{name}` | {_cell(text)} |" for name, text in SAMPLES.items())
    return "\n\n".join([*parts, "## `samples/step-N.parquet`", f"| column | meaning |\n|---|---|\n{rows}"]) + "\n"


def _meanings(legend: Mapping[str, Meaning]) -> str:
    lines = ["| name | unit | meaning | stages |", "|---|---|---|---|"]
    for name, entry in legend.items():
        where = "all" if entry.stages == ALL else ", ".join(entry.stages)
        text = f"{entry.text} (if {entry.condition})" if entry.condition else entry.text
        lines.append(f"| `{name}` | {entry.unit} | {_cell(_prose(text))} | {where} |")
    return "\n".join(lines)


def commands() -> str:
    """What `--help` says, of every verb."""
    os.environ["COLUMNS"] = "100"  # argparse wraps to the terminal otherwise
    main = command_line()
    parts = ["# Command line", f"```text\n{main.format_help().strip()}\n```"]
    for action in main._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                parts.append(f"## `overopt {name}`\n\n```text\n{verb.format_help().strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _prose(text: str) -> str:
    """A docstring as Markdown: the parallel bars of a divergence are no columns, and nothing in it is a formula."""
    return re.sub(r"\|\| *", "‖ ", text).replace("$", r"\$")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
