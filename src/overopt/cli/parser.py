"""The command-line parser: verbs and flags; what their help says is in `help_texts.py`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from overopt import __version__
from overopt.cli import help_texts as texts
from overopt.cli import verbs as run
from overopt.errors import UserError

REPORT_FORMATS = ("html", "svg", "pdf", "png")
PLAN_FLAGS = ("--device", "--scale", "--only", "--inputs", "--price")
"""Flags of `plan` that take a value and are no settings."""
SHOW_FLAGS = ("--samples", "--scale", "--only", "--inputs")

WORKERS = "runs at a time; default: one per core, or as many as the cluster has room for"
RAY = "run on a Ray cluster: HOST:PORT, auto for the one of this machine, local for a new one"
JUDGE_AT_THE_END = "who judges all checkpoints at the end; default: the file's own judge; none: nobody"
INPUTS = "folder of the models and data that a study names; default: the working directory"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse arguments into options: `verb` is the function to call, `overrides` the settings of `train` and others."""
    parser = command_line()
    overrides: list[tuple[str, str]] = []
    if arguments[:1] == ["train"]:
        arguments, overrides = split_overrides(arguments, ("--out",))
    elif arguments[:1] == ["plan"]:
        arguments, overrides = split_overrides(arguments, PLAN_FLAGS, ("--json",))
    elif arguments[:1] == ["show"]:
        arguments, overrides = split_overrides(arguments, SHOW_FLAGS, ("--json",))
    elif arguments[:1] == ["claims"]:
        arguments, overrides = split_overrides(arguments, ("--export", "--judge"), ("--json",))
    options = parser.parse_args(arguments)
    options.overrides = overrides
    return options


def split_overrides(
    arguments: Sequence[str], with_value: Sequence[str] = ("--out",), alone: Sequence[str] = ()
) -> tuple[list[str], list[tuple[str, str]]]:
    """Split arguments into the verb's own and the settings, which are pairs of address and YAML text.

    argparse cannot do this: it would read the value of an unknown flag as CONFIG, and `-0.5` as a flag.
    """
    own: list[str] = []
    overrides: list[tuple[str, str]] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag in ("--", "--help", *alone):
            own.append(word)
        elif flag in with_value:
            own += [word, *([] if equals else rest[:1])]
            rest = rest if equals else rest[1:]
        elif equals:
            overrides.append((flag[2:], value))
        elif rest and not rest[0].startswith("--"):
            overrides.append((flag[2:], rest.pop(0)))
        else:
            raise UserError(f"{flag}: needs a value, such as {flag} 1e-3")
    return own, overrides


def command_line() -> argparse.ArgumentParser:
    """Build the parser of all verbs and flags."""
    layout: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = argparse.ArgumentParser(prog="overopt", description=texts.DESCRIPTION, **layout)
    parser.add_argument("--version", action="version", version=f"overopt {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(name: str, function: Callable[..., int], summary: str, text: str, **more: Any) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=summary, description=text, **more, **layout)
        verb.set_defaults(verb=function)
        return verb

    def add_placement(verb: argparse.ArgumentParser) -> None:
        verb.add_argument("--workers", type=_positive, metavar="N", help=WORKERS)
        verb.add_argument("--ray", metavar="ADDRESS", help=RAY)

    verb = add("demo", run.demo, "run the miniature study", texts.DEMO)
    verb.add_argument("--seed", type=_seed, default=0, metavar="N", help="default 0; seeds from 100 use the test split")
    verb.add_argument("--out", type=Path, metavar="DIR", help="output folder; default overopt-demo/SCALE-seed-N")
    verb.add_argument("--scale", metavar="NAME", help="size of the study: xs, s (default) or m")
    add_placement(verb)

    verb = add("study", run.study, "run a packaged study with all its seeds", texts.STUDY)
    verb.add_argument("name", nargs="?", metavar="NAME", help="default: list the studies")
    verb.add_argument("--quick", action="store_true", help="the study's scale `quick`, by default its first seed only")
    verb.add_argument("--scale-set", metavar="NAME", help="scale of the study: miniature (default), pythia, ...")
    verb.add_argument(
        "--seeds", type=_seeds, metavar="N..M", help="seeds, such as 110..114 or 110,112; default: its own"
    )
    verb.add_argument("--only", type=_names, default=(), metavar="ROW,...", help="only these rows or runs, and parents")
    verb.add_argument("--inputs", type=Path, metavar="DIR", help=INPUTS)
    verb.add_argument("--judge", metavar="JUDGE", help=JUDGE_AT_THE_END)
    verb.add_argument("--out", type=Path, metavar="DIR", help="output folder; default overopt-NAME/SCALE")
    add_placement(verb)

    usage = "overopt train CONFIG [--dotted.field VALUE ...] --out RUN_DIR"
    verb = add("train", run.train, "train one stage from a YAML", texts.TRAIN, usage=usage)
    verb.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of one stage")
    verb.add_argument("--out", type=Path, metavar="RUN_DIR", required=True, help="run directory to write")

    verb = add("sweep", run.sweep, "run grids, lists and seeds of runs", texts.SWEEP)
    verb.add_argument("file", type=Path, metavar="FILE", help="YAML file with runs, and grid, lists or seeds")
    verb.add_argument("--out", type=Path, metavar="DIR", help="output folder; default overopt-sweep/NAME_OF_FILE")
    add_placement(verb)
    verb.add_argument("--only", metavar="GLOB", help="only runs whose names match, and their parents")
    verb.add_argument("--judge", metavar="JUDGE", help=JUDGE_AT_THE_END)

    verb = add("watch", run.watch, "show a live table of runs", texts.WATCH)
    verb.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="run directories, or folders that hold some")
    verb.add_argument("--once", action="store_true", help="print the table once")
    verb.add_argument("--every", type=_seconds, default=2.0, metavar="S", help="seconds between updates; default 2")

    verb = add("evaluate", run.evaluate, "judge a run's checkpoints again", texts.EVALUATE)
    verb.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories, or folders that hold some")
    verb.add_argument(
        "--judge", metavar="JUDGE", help="gold, reward_model, hf, openai, ..., YAML or its file; default: gold if known"
    )
    verb.add_argument(
        "--against", default="reference", metavar="RUN", help="run to compare with; default reference: the references"
    )
    verb.add_argument(
        "--checkpoints", type=_steps, default="all", metavar="STEP,...", help="all (default), last, or steps"
    )
    verb.add_argument("--split", choices=("tuning", "test"), help="of the miniature's prompts; default: the run's own")
    verb.add_argument(
        "--max-completion-tokens", type=_counts(1), default=(), metavar="N,...", help="limits; default: the run's own"
    )

    verb = add("judge", run.judge, "how well judges agree with humans and each other", texts.JUDGE)
    verb.add_argument("what", choices=("agreement",), metavar="agreement", help="what is measured")
    verb.add_argument("pairs", type=Path, metavar="PAIRS", help="file of pairs, of which humans prefer one completion")
    verb.add_argument(
        "--judge", action="append", required=True, metavar="JUDGE,...", help="judges, as `overopt evaluate` takes them"
    )
    verb.add_argument("--limit", type=_positive, metavar="N", help="only the first N pairs")
    verb.add_argument("--out", type=Path, metavar="DIR", help="write agreement.json and agreement.html to DIR")
    verb.add_argument("--json", action="store_true", help="all numbers as JSON, and how each pair came out")

    verb = add("log", run.log, "send a run's records to a sink", texts.LOG)
    verb.add_argument("run", type=Path, metavar="RUN_DIR", help="directory that `overopt train` wrote, finished or not")
    verb.add_argument("--sink", action="append", required=True, metavar="SINK", help="tensorboard, trackio or wandb")

    verb = add("report", run.report, "write one page about runs", texts.REPORT)
    verb.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="run directories, or folders that hold some")
    verb.add_argument("-o", "--out", type=Path, metavar="FILE", default=Path("report.html"), help="default report.html")
    verb.add_argument(
        "--format", type=_formats, default=("html",), metavar="KIND,...", help="html (default, with svg), svg, pdf, png"
    )
    verb.add_argument("--figures", type=_names, default=(), metavar="NAME,...", help="only these figures")
    verb.add_argument(
        "--judge", type=_judges, default=(), metavar="NAME,...", help="these judges; the labels of the first come first"
    )
    verb.add_argument("--serve", action="store_true", help="serve the page on this machine, rebuilt on every visit")

    verb = add("best-of-n", run.best_of_n, "what best-of-n by a proxy gains", texts.BEST_OF_N)
    verb.add_argument("sources", type=Path, nargs="+", metavar="FILE_OR_RUNS", help="scored candidates")
    verb.add_argument("-o", "--out", type=Path, metavar="FILE", help="figure file; default best-of-n-NAME.svg")
    verb.add_argument("--format", choices=("svg", "png", "pdf"), help="default: by FILE's extension, or svg")
    verb.add_argument(
        "--rouge", metavar="NAME", help="ROUGE score used as proxy, such as rouge1-recall; default rouge2-f1"
    )

    verb = add("convert", run.convert, "write pickled weights as safetensors", texts.CONVERT)
    verb.add_argument("model", metavar="MODEL", help="a model folder, a model on the Hub, or a GGUF file")
    verb.add_argument("out", type=Path, metavar="FOLDER", help="folder to write")

    verb = add("push", run.push, "put a run's model on the Hub", texts.PUSH)
    verb.add_argument("run", type=Path, metavar="RUN", help="directory of a finished run")
    verb.add_argument("repo", metavar="REPO", help="repository on the Hub, OWNER/NAME; made if it is not there")
    verb.add_argument("--public", action="store_true", help="a repository that is made is public; default: private")

    verb = add("merge", run.merge, "write a model trained by LoRA as a whole one", texts.MERGE)
    verb.add_argument(
        "model", metavar="RUN_OR_FOLDER", help="a run with `trainable: lora`, or the folder of an adapter"
    )
    verb.add_argument("out", type=Path, metavar="FOLDER", help="folder to write")

    verb = add("plan", run.plan, "estimate time, memory and cost of a run", texts.PLAN)
    verb.add_argument(
        "config", type=Path, metavar="CONFIG", help="YAML file of a stage, study or sweep; or a study's name"
    )
    verb.add_argument("--device", metavar="NAME", help="GPU by name; default: this machine, measured")
    verb.add_argument("--scale", metavar="NAME", help="scale of a study; default: the study's own")
    verb.add_argument("--only", type=_names, default=(), metavar="ROW,...", help="only these rows or runs, and parents")
    verb.add_argument("--inputs", type=Path, metavar="DIR", help=INPUTS)
    verb.add_argument("--price", type=float, metavar="X", help="price of one hour on the device, for the cost")
    verb.add_argument("--json", action="store_true", help="JSON rows, one per stage")

    verb = add("show", run.show, "show records as tokens, and where the loss falls", texts.SHOW)
    verb.add_argument(
        "config", type=Path, metavar="CONFIG", help="YAML file of a stage, study or sweep; or a study's name"
    )
    verb.add_argument("--samples", type=_positive, default=3, metavar="N", help="records of each stage; default 3")
    verb.add_argument("--scale", metavar="NAME", help="scale of a study; default: the study's own")
    verb.add_argument("--only", type=_names, default=(), metavar="ROW,...", help="only these rows or runs, and parents")
    verb.add_argument("--inputs", type=Path, metavar="DIR", help=INPUTS)
    verb.add_argument("--json", action="store_true", help="JSON rows, one per stage, with the tokens' numbers")

    usage = "overopt claims STUDY_DIR [--json] [--judge NAME] [--dotted.threshold VALUE ...]"
    verb = add("claims", run.claims, "test the paper's claims on a study", texts.CLAIMS, usage=usage)
    verb.add_argument("study", type=Path, metavar="STUDY_DIR", help="folder of a study, or of its Parquet files")
    verb.add_argument(
        "--json", action="store_true", help="JSON rows of id, statement, verdict, reason, numbers, runs, seeds"
    )
    verb.add_argument(
        "--export", type=Path, metavar="DIR", help="write runs as Parquet, claims, tables, figures to DIR"
    )
    verb.add_argument("--judge", metavar="NAME", help="a judge that has judged the runs; default: each run's own")

    verb = add("power", run.power, "seeds and prompts that tell two runs apart", texts.POWER)
    verb.add_argument("--difference", type=float, metavar="D", help="difference of the win rates; default: as measured")
    verb.add_argument("--sd", type=float, metavar="SD", help="standard deviation of the true difference over seeds")
    verb.add_argument("--base", type=float, metavar="P", help="win rate of the second run; default 0.5")
    verb.add_argument("--correlation", type=float, metavar="R", help="of the runs' outcomes; default 0")
    verb.add_argument("--discordance", type=float, metavar="Q", help="share of prompts that one run alone wins")
    verb.add_argument("--study", type=Path, metavar="DIR", help="measure the spread on the runs of a study")
    verb.add_argument("--runs", nargs="+", metavar="ROW", help="one or two rows, with their setting: ROW:coef=0.5")
    verb.add_argument("--seeds", type=_counts(2), metavar="S,...", help="default 5, or the study's")
    verb.add_argument("--prompts", type=_counts(1), metavar="N,...", help="default 256, or the study's")
    verb.add_argument("--power", type=_power, default=0.8, metavar="P", help="power to reach; default 0.8")
    verb.add_argument("--json", action="store_true", help="all numbers as JSON")

    verb = add("theory", run.theory, "check statements T1 to T16", texts.THEORY)
    verb.add_argument("--json", action="store_true", help="JSON rows of id, statement, holds, residual, tolerance")

    verb = add("objectives", run.objectives, "list and explain objectives", texts.OBJECTIVES)
    verb.add_argument("name", nargs="?", metavar="NAME", help="one objective; default: all")
    verb.add_argument(
        "--json", action="store_true", help="JSON rows of name, kind, formula, fields, needs, source, elsewhere"
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _judges(text: str) -> tuple[str, ...]:
    """Names of judges; a comma within brackets belongs to a name, such as `majority(gold,reward_model)`."""
    return tuple(name.strip() for name in re.split(r",(?![^(]*\))", text) if name.strip())


def _formats(text: str) -> tuple[str, ...]:
    formats = _names(text)
    if not formats or set(formats) - set(REPORT_FORMATS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(REPORT_FORMATS)}, got {text!r}")
    return formats


def _seed(text: str) -> int:
    if not text.isdecimal() or not text.isascii():
        raise argparse.ArgumentTypeError(f"expected 0, 1, 2, ..., got {text!r}")
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    """`110..114`, `110,112` or `110`."""
    parts = [part.partition("..") for part in text.split(",")]
    try:
        ranges = [range(_seed(first), _seed(last if dots else first) + 1) for first, dots, last in parts]
    except argparse.ArgumentTypeError:
        ranges = []
    seeds = tuple(seed for one in ranges for seed in one)
    if not seeds or not all(ranges) or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"expected seeds such as 110..114 or 110,112, got {text!r}")
    return seeds


def _positive(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1, 2, ..., got {text!r}")
    return int(text)


def _counts(least: int) -> Callable[[str], list[int]]:
    def counts(text: str) -> list[int]:
        numbers = [int(part) for part in text.split(",") if part.isdecimal() and part.isascii()]
        if len(numbers) != len(text.split(",")) or not all(least <= number <= 10**6 for number in numbers):
            raise argparse.ArgumentTypeError(f"expected whole numbers from {least} to 1000000, got {text!r}")
        return numbers

    return counts


def _steps(text: str) -> str | list[int]:
    """`all`, `last` or `0,40,80`."""
    return text if text in ("all", "last") else _counts(0)(text)


def _power(text: str) -> float:
    try:
        power = float(text)
    except ValueError:
        power = 0.0
    if not 0.5 <= power <= 0.999:
        raise argparse.ArgumentTypeError(f"expected a probability from 0.5 to 0.999, got {text!r}")
    return power


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.1 to 86400, got {text!r}")
    return seconds
