"""The command-line parser: verbs, flags, and the help texts, which explain by example."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from overopt import __version__
from overopt.cli import verbs as run
from overopt.errors import UserError

REPORT_FORMATS = ("html", "svg", "pdf", "png")
PLAN_FLAGS = ("--device", "--scale", "--only", "--inputs", "--price")
"""Flags of `plan` that take a value and are no settings."""

INPUTS = "folder of the models and data that a study names; default: the working directory"

DESCRIPTION = """\
Train language models by preference optimization, and see when they over-optimize their reward.

  overopt demo                                     see it happen: nine small runs, a few minutes on a laptop
  overopt study maxent-failure-modes --quick       repeat the paper: every run, figure and claim in miniature
  overopt train sft.yaml --lr 1e-3 --out runs/sft  train one stage from a YAML file
  overopt sweep sweep.yaml --out out/sweep         run grids, lists and seeds of runs with their parents, on all cores
  overopt watch out/sweep                          show a live table of runs, from their records
  overopt evaluate runs/kl --judge reward_model    judge the checkpoints of a finished run again
  overopt log runs/kl --sink tensorboard           send a run's records to TensorBoard, Trackio or W&B
  overopt report runs                              write one page: verdicts, figures, samples
  overopt best-of-n scored.jsonl                   measure what choosing the best of n by a proxy gains
  overopt plan kl.yaml                             estimate hours and memory of a run before it starts
  overopt claims out/study                         test the paper's claims C1 to C44 on the runs of a study
  overopt power --difference 0.1 --sd 0.05         how many seeds and prompts it takes to tell two runs apart
  overopt theory                                   check the derivation from maximum-entropy RL to SimPO
  overopt objectives simpo                         show an objective: formula, fields, source, names in other libraries

`overopt VERB --help` explains a verb by examples.
"""

DEMO = """\
Run the miniature study on all cores: SFT, preference pairs, a reward model, then seven policies with and without a
regularizer. Prints a table with one verdict per run, and writes run directories to DIR/runs/NAME, DIR/summary.json,
DIR/figure.svg and .png, and DIR/report.html, a page with all figures and samples.
After an interruption, give the same command again: finished runs are kept and unfinished ones continue.

  overopt demo
  overopt demo --seed 3 --scale xs --out /tmp/demo
"""

STUDY = """\
Run a study that comes with overopt, on all its seeds; without a name, list the studies. maxent-failure-modes repeats
every run behind the figures and claims of "Failure Modes of Maximum Entropy RLHF" with three small transformers, on
five seeds. Writes run directories to DIR/runs/NAME and DIR/members.json, which says which run is which.
After an interruption, give the same command again. --only takes rows or runs, with * for any text; their parents are
run, too. The folder may grow: more seeds or more rows are added by another call.

  overopt study
  overopt study maxent-failure-modes --quick                 every row once with the smallest model, to see all figures
  overopt study maxent-failure-modes --seeds 110..114
  overopt study maxent-failure-modes --only "KL-*,ME-1B-*" --out out/part
  overopt study maxent-failure-modes --scale-set pythia      the paper's models; see docs/pythia.md first
"""

TRAIN = """\
Train one stage from a YAML file whose first key is `stage: sft | reward_model | online | offline`.
Every field of the YAML is also a flag, by its dotted address; the value is read as YAML.
If RUN_DIR holds a finished run of the same settings, nothing is done; an unfinished run continues from its last saved
state and ends with the numbers of a run that was never interrupted. Ctrl-C saves after the current step; a second
Ctrl-C stops at once.

  overopt train sft.yaml --out runs/sft
  overopt train online.yaml --lr 1e-5 --regularizers.0.coef 0.05 --out runs/kl
  overopt train offline.yaml --loss simpo --loss.gamma 1.0 --out runs/simpo
"""

SWEEP = """\
Run all runs of a YAML file: its `runs` and their parents, for every combination of `grid`, every setting of `lists` and
all `seeds`. A parent is trained once for all its children. Prints a table with one verdict per run, and writes run
directories DIR/runs/NAME, named after what varies (kl-coef=0.2-seed=1), DIR/summary.json, DIR/figure.svg and .png, and
DIR/report.html.
Give the same command again after an interruption or after adding values to FILE: finished runs are kept.
A failed run stops only the runs that descend from it; `retries: N` in FILE repeats runs that crashed.
Exit code 2 if a run failed because of its input, 1 if because of a bug in overopt.

  overopt sweep examples/sweeps/kl_strength.yaml --out out/kl_strength
  overopt sweep examples/sweeps/kl_strength.yaml --out out/kl_strength --only 'kl-*-seed=0' --workers 1
"""

WATCH = """\
Show the state of runs, read from their records: status, step, time left, last evaluation, and a small curve of the win
rate, or else of the proxy or the loss. RUNS are run directories or folders that contain some, also on a shared disk.
A run is marked `stalled` if its status is running but it has written nothing for much longer than its steps take.
Ctrl-C quits. If the output is not a terminal, plain text is printed.

  overopt watch out/demo
  overopt watch out/a out/b --every 30
  overopt watch out/demo --once | grep stalled
"""

EVALUATE = """\
Judge greedy completions of every kept checkpoint of a run against the references, and add the results to its records.

  overopt evaluate runs/kl
  overopt evaluate runs/kl --judge reward_model --split test
"""

LOG = """\
Send the records of a run to a sink: tensorboard, trackio or wandb (offline by default), each installed by the extra of
that name, or your own class. A sink's settings are written as YAML. To send records while a run is training, set
`sinks: [tensorboard]` in its YAML, or `overopt train ... --sinks '[tensorboard]'`.

  overopt log runs/kl --sink tensorboard
  overopt log runs/kl --sink '{name: wandb, project: mine}' --sink trackio
"""

BEST_OF_N = """\
Estimate the gold score of the candidate that a proxy ranks best among n: a table with intervals and a verdict, and a
figure. FILE_OR_RUNS is one of
  a JSONL file of {"prompt", "candidates": [{"text", "proxy", "gold"}]}, the candidates being samples of one policy;
  a JSONL file in the format of REALSumm, {"doc_id", "ref", "cands": [{"system", "summary", "litepyramid_recall"}]},
    whose proxy is ROUGE (pip install 'overopt[rouge]');
  run directories, or folders that contain some: the completions of their checkpoints for the same prompts.

  overopt best-of-n scored.jsonl
  overopt best-of-n examples/data/realsumm_excerpt.jsonl --rouge rouge2-precision -o figures/rouge.pdf
  overopt best-of-n out/demo/runs
"""

REPORT = """\
Write one self-contained HTML page about runs (a verdict per group, a table, figures, samples, and how the runs were
made), and each figure as SVG into FILE_figures/. RUNS are run directories or folders that contain some. Runs in
progress are drawn up to now; a run that cannot be read is named and left out.
Figures: seeds, curves, gao, kl, consecutive, entropy, training, length, offline. gao: gold and proxy against the KL
to the reference (after Gao et al. 2022); consecutive: KL between successive policies.

  overopt report runs
  overopt report runs/kl runs/none -o kl.html --format html,pdf
  overopt report runs --format png --figures curves,kl
  overopt report runs --serve
"""

PLAN = """\
Estimate what a stage, or each run of a study or sweep, needs before anything runs: parameters, tokens, FLOPs, memory by
part, hours. Runs of equal cost share an entry. Without --device, part of a step is timed on this machine, in seconds;
with --device, the estimate uses that GPU's data sheet. For a stage, every field is also a flag, as with `train`.

  overopt plan online.yaml
  overopt plan online.yaml --compute.precision bf16 --device h100 --price 3
  overopt plan study.yaml --scale m
  overopt plan maxent-failure-modes --scale pythia --only "KL-*" --device h100
"""

POWER = """\
Compute how many seeds and judged prompts tell two runs apart whose win rates differ by so much: the standard error of
their difference, the chance to find it (power), the chance to find one where there is none, and the least numbers of
seeds and of prompts. The spread over seeds is given as a standard deviation, or measured from the runs of a study
(--out of `overopt study`, or its Parquet files). Two tests are compared: two standard errors, the rule of all
verdicts, and a t-test at 5 % over seeds.
With one ROW, the last evaluation is compared with that of step 0, the SFT policy. More in docs/power.md.

  overopt power --difference 0.1 --sd 0.05
  overopt power --difference 0.1 --sd 0.05 --base 0.3 --discordance 0.25 --seeds 3,5,10 --prompts 256,1000
  overopt power --study out/study --runs ME-1B-1e-6:coef=0.5 KL-1B
  overopt power --study out/study --runs KL-1B --difference 0.05 --seeds 5 --json
"""

THEORY = """\
Check the statements T1 to T16 that lead from maximum-entropy RL to SimPO, and where that derivation fails, on finite
sets of candidates, in closed form and in float64. A residual is the largest error found; where a statement says that
two things differ, it is how far their gap falls short. Exit code 1 if a statement does not hold.

  overopt theory
  overopt theory --json
"""

CLAIMS = """\
Test the claims C1 to C44 of the paper (arXiv 2509.20265) on the runs of a study, from their records alone. STUDY_DIR is
the folder of a study, or one with its Parquet files. A verdict is one of
  replicated      the test of the claim comes out true
  contradicted    the opposite is significant, at two standard errors
  inconclusive    neither
  not tested      a run or a metric that the test needs is missing
Behind it stands on how many single seeds the test comes out true. Every threshold of the tests is also a flag.
Exit code 0 whatever the verdicts are.

  overopt claims out/study
  overopt claims out/study --json
  overopt claims out/study --trend.tau 0.4 --comparison.comparable 0.05
  overopt claims out/study --export published        a few megabytes with all that claims, tables and figures need
  overopt claims published
"""

OBJECTIVES = """\
List every objective, or explain one: formula, fields with defaults, what it needs, source, and its name and parameters
in other libraries.

  overopt objectives
  overopt objectives simpo
  overopt objectives --json
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse arguments into options: `verb` is the function to call, `overrides` the settings of `train` and others."""
    parser = command_line()
    overrides: list[tuple[str, str]] = []
    if arguments[:1] == ["train"]:
        arguments, overrides = split_overrides(arguments, ("--out",))
    elif arguments[:1] == ["plan"]:
        arguments, overrides = split_overrides(arguments, PLAN_FLAGS, ("--json",))
    elif arguments[:1] == ["claims"]:
        arguments, overrides = split_overrides(arguments, ("--export",), ("--json",))
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
    parser = argparse.ArgumentParser(prog="overopt", description=DESCRIPTION, **layout)
    parser.add_argument("--version", action="version", version=f"overopt {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(name: str, function: Callable[..., int], summary: str, text: str, **more: Any) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=summary, description=text, **more, **layout)
        verb.set_defaults(verb=function)
        return verb

    verb = add("demo", run.demo, "run the miniature study", DEMO)
    verb.add_argument("--seed", type=_seed, default=0, metavar="N", help="default 0; seeds from 100 use the test split")
    verb.add_argument("--out", type=Path, metavar="DIR", help="output folder; default overopt-demo/SCALE-seed-N")
    verb.add_argument("--scale", metavar="NAME", help="size of the study: xs, s (default) or m")
    verb.add_argument("--workers", type=_positive, metavar="N", help="runs at a time; default: one per core")

    verb = add("study", run.study, "run a packaged study with all its seeds", STUDY)
    verb.add_argument("name", nargs="?", metavar="NAME", help="default: list the studies")
    verb.add_argument("--quick", action="store_true", help="the study's scale `quick`, by default its first seed only")
    verb.add_argument("--scale-set", metavar="NAME", help="scale of the study: miniature (default), pythia, ...")
    verb.add_argument(
        "--seeds", type=_seeds, metavar="N..M", help="seeds, such as 110..114 or 110,112; default: its own"
    )
    verb.add_argument("--only", type=_names, default=(), metavar="ROW,...", help="only these rows or runs, and parents")
    verb.add_argument("--inputs", type=Path, metavar="DIR", help=INPUTS)
    verb.add_argument("--out", type=Path, metavar="DIR", help="output folder; default overopt-NAME/SCALE")
    verb.add_argument("--workers", type=_positive, metavar="N", help="runs at a time; default: one per core")

    usage = "overopt train CONFIG [--dotted.field VALUE ...] --out RUN_DIR"
    verb = add("train", run.train, "train one stage from a YAML", TRAIN, usage=usage)
    verb.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of one stage")
    verb.add_argument("--out", type=Path, metavar="RUN_DIR", required=True, help="run directory to write")

    verb = add("sweep", run.sweep, "run grids, lists and seeds of runs", SWEEP)
    verb.add_argument("file", type=Path, metavar="FILE", help="YAML file with runs, and grid, lists or seeds")
    verb.add_argument("--out", type=Path, metavar="DIR", help="output folder; default overopt-sweep/NAME_OF_FILE")
    verb.add_argument("--workers", type=_positive, metavar="N", help="runs at a time; default: one per core")
    verb.add_argument("--only", metavar="GLOB", help="only runs whose names match, and their parents")

    verb = add("watch", run.watch, "show a live table of runs", WATCH)
    verb.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="run directories, or folders that hold some")
    verb.add_argument("--once", action="store_true", help="print the table once")
    verb.add_argument("--every", type=_seconds, default=2.0, metavar="S", help="seconds between updates; default 2")

    verb = add("evaluate", run.evaluate, "judge a run's checkpoints again", EVALUATE)
    verb.add_argument("run", type=Path, metavar="RUN_DIR", help="run directory of a finished or stopped run")
    verb.add_argument("--judge", choices=("gold", "reward_model"), help="default: gold if the task has a gold reward")
    verb.add_argument("--split", choices=("tuning", "test"), help="of the miniature's prompts; default: the run's own")

    verb = add("log", run.log, "send a run's records to a sink", LOG)
    verb.add_argument("run", type=Path, metavar="RUN_DIR", help="directory that `overopt train` wrote, finished or not")
    verb.add_argument("--sink", action="append", required=True, metavar="SINK", help="tensorboard, trackio or wandb")

    verb = add("report", run.report, "write one page about runs", REPORT)
    verb.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="run directories, or folders that hold some")
    verb.add_argument("-o", "--out", type=Path, metavar="FILE", default=Path("report.html"), help="default report.html")
    verb.add_argument(
        "--format", type=_formats, default=("html",), metavar="KIND,...", help="html (default, with svg), svg, pdf, png"
    )
    verb.add_argument("--figures", type=_names, default=(), metavar="NAME,...", help="only these figures")
    verb.add_argument("--serve", action="store_true", help="serve the page on this machine, rebuilt on every visit")

    verb = add("best-of-n", run.best_of_n, "what best-of-n by a proxy gains", BEST_OF_N)
    verb.add_argument("sources", type=Path, nargs="+", metavar="FILE_OR_RUNS", help="scored candidates")
    verb.add_argument("-o", "--out", type=Path, metavar="FILE", help="figure file; default best-of-n-NAME.svg")
    verb.add_argument("--format", choices=("svg", "png", "pdf"), help="default: by FILE's extension, or svg")
    verb.add_argument(
        "--rouge", metavar="NAME", help="ROUGE score used as proxy, such as rouge1-recall; default rouge2-f1"
    )

    verb = add("plan", run.plan, "estimate time, memory and cost of a run", PLAN)
    verb.add_argument(
        "config", type=Path, metavar="CONFIG", help="YAML file of a stage, study or sweep; or a study's name"
    )
    verb.add_argument("--device", metavar="NAME", help="GPU by name; default: this machine, measured")
    verb.add_argument("--scale", metavar="NAME", help="scale of a study; default: the study's own")
    verb.add_argument("--only", type=_names, default=(), metavar="ROW,...", help="only these rows or runs, and parents")
    verb.add_argument("--inputs", type=Path, metavar="DIR", help=INPUTS)
    verb.add_argument("--price", type=float, metavar="X", help="price of one hour on the device, for the cost")
    verb.add_argument("--json", action="store_true", help="JSON rows, one per stage")

    usage = "overopt claims STUDY_DIR [--json] [--dotted.threshold VALUE ...]"
    verb = add("claims", run.claims, "test the paper's claims on a study", CLAIMS, usage=usage)
    verb.add_argument("study", type=Path, metavar="STUDY_DIR", help="folder of a study, or of its Parquet files")
    verb.add_argument(
        "--json", action="store_true", help="JSON rows of id, statement, verdict, reason, numbers, runs, seeds"
    )
    verb.add_argument(
        "--export", type=Path, metavar="DIR", help="write runs as Parquet, claims, tables, figures to DIR"
    )

    verb = add("power", run.power, "seeds and prompts that tell two runs apart", POWER)
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

    verb = add("theory", run.theory, "check statements T1 to T16", THEORY)
    verb.add_argument("--json", action="store_true", help="JSON rows of id, statement, holds, residual, tolerance")

    verb = add("objectives", run.objectives, "list and explain objectives", OBJECTIVES)
    verb.add_argument("name", nargs="?", metavar="NAME", help="one objective; default: all")
    verb.add_argument(
        "--json", action="store_true", help="JSON rows of name, kind, formula, fields, needs, source, elsewhere"
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


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
