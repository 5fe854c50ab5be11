"""The verbs with their flags and what `--help` teaches of them; from arguments to options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overopt import __version__
from overopt.cli import verbs as run
from overopt.errors import UserError

REPORT_FORMATS = ("html", "svg", "pdf", "png")

DESCRIPTION = """\
Preference optimization of language models, with over-optimization made visible.

  overopt demo                                     see it happen: nine small runs, some minutes on a laptop
  overopt train sft.yaml --lr 1e-3 --out runs/sft  train one stage from a YAML
  overopt sweep sweep.yaml --out out/sweep         grids, lists and seeds of runs with their parents, on all cores
  overopt watch out/sweep                          a live table of runs, from their records
  overopt evaluate runs/kl --judge reward_model    judge the checkpoints of a run again
  overopt log runs/kl --sink tensorboard           send a run's records to TensorBoard, Trackio or W&B
  overopt report runs                              one page: verdicts, figures, samples
  overopt best-of-n scored.jsonl                   what choosing the best of n by a proxy buys
  overopt plan kl.yaml                             hours and memory of a run before it begins
  overopt theory                                   check the derivation from maximum-entropy RL to SimPO
  overopt objectives simpo                         an objective's formula, fields, source, and names elsewhere
"""

DEMO = """\
Run the miniature study: SFT, pairs, a reward model, then seven runs with and without a regularizer, on all cores.
Prints a table with a verdict per run; writes DIR/runs/NAME, DIR/summary.json, DIR/figure.svg and .png, and
DIR/report.html, a page with all figures and samples.
After an interruption the same command goes on: finished runs are not redone, unfinished ones continue.

  overopt demo
  overopt demo --seed 3 --scale xs --out /tmp/demo
"""

TRAIN = """\
Train one stage from a YAML whose first key is `stage: sft | reward_model | online | offline`.
Every setting is also a flag, under its dotted address; its value is read as YAML.
A finished RUN_DIR of the same settings is left alone; an unfinished one goes on from what it kept last, and its numbers
are those of a run that was never cut short. Ctrl-C keeps the step at hand; a second Ctrl-C leaves at once.

  overopt train sft.yaml --out runs/sft
  overopt train online.yaml --lr 1e-5 --regularizers.0.coef 0.05 --out runs/kl
  overopt train offline.yaml --loss simpo --loss.gamma 1.0 --out runs/simpo
"""

SWEEP = """\
Run all runs of a YAML: its `runs` with their parents, in every combination of `grid`, each setting of `lists`, for all
`seeds`; a parent is built once for all its children. Prints a table with a verdict per run; writes DIR/runs/NAME,
whose names say what differs (kl-coef=0.2-seed=1), DIR/summary.json, DIR/figure.svg and .png, and DIR/report.html.
The same command goes on after an interruption, and after values were added to FILE: what has finished is not redone.
A run that fails takes down those that descend from it, no others; `retries: N` tries again what crashed.
Exit code 2 if a run failed through its input, 1 through a fault of ours.

  overopt sweep examples/sweeps/kl_strength.yaml --out out/kl_strength
  overopt sweep examples/sweeps/kl_strength.yaml --out out/kl_strength --only 'kl-*-seed=0' --workers 1
"""

WATCH = """\
Show how runs stand, from their records alone: status, step, time left, the last evaluation, and a small curve of the
win rate, or else of the proxy or the loss. RUNS are run directories, or folders that hold some, also on a shared disk.
A run is marked `stalled` if it says it is running but has written nothing for much longer than its steps take.
Ctrl-C ends it; off a terminal the table is plain text.

  overopt watch out/demo
  overopt watch out/a out/b --every 30
  overopt watch out/demo --once | grep stalled
"""

EVALUATE = """\
Judge greedy completions of every kept checkpoint of a run against the references, and add that to its record.

  overopt evaluate runs/kl
  overopt evaluate runs/kl --judge reward_model --split test
"""

LOG = """\
Send the records of a run to a sink: tensorboard, trackio or wandb (offline by default), each an extra of that name,
or a class of your own. Its settings are written as in YAML. A run sends them while it is made with
`sinks: [tensorboard]` in its YAML, or `overopt train ... --sinks '[tensorboard]'`.

  overopt log runs/kl --sink tensorboard
  overopt log runs/kl --sink '{name: wandb, project: mine}' --sink trackio
"""

BEST_OF_N = """\
What the best of n candidates by a proxy scores on gold: a table with intervals and a verdict, and a figure.
FILE_OR_RUNS is one of
  a JSONL of {"prompt", "candidates": [{"text", "proxy", "gold"}]}, the candidates being draws of one policy;
  a JSONL in the form of REALSumm, {"doc_id", "ref", "cands": [{"system", "summary", "litepyramid_recall"}]}, whose
    proxy is ROUGE (pip install 'overopt[rouge]');
  run directories, or folders that hold some: what their checkpoints wrote for the same prompts.

  overopt best-of-n scored.jsonl
  overopt best-of-n examples/data/realsumm_excerpt.jsonl --rouge rouge2-precision -o figures/rouge.pdf
  overopt best-of-n out/demo/runs
"""

REPORT = """\
Write one self-contained HTML page about runs: a verdict for each group, a table, figures, samples, how they were made;
and each figure as SVG in FILE_figures/. RUNS are run directories, or folders that hold some; those that are still going
are drawn up to now, and one that cannot be read is named and left out.
Figures: seeds, curves, gao, kl, consecutive, entropy, training, length, offline.

  overopt report runs
  overopt report runs/kl runs/none -o kl.html --format html,pdf
  overopt report runs --format png --figures curves,kl
  overopt report runs --serve
"""

PLAN = """\
What a stage, or each run of a study or of a sweep, will take before anything runs: parameters, tokens, FLOPs, memory by
part, hours. Without --device a piece of a step is measured here, in seconds; with it the figures are a data sheet's.
Of a stage every setting is also a flag, as with train.

  overopt plan online.yaml
  overopt plan online.yaml --compute.precision bf16 --device h100 --price 3
  overopt plan study.yaml --scale m
"""

THEORY = """\
Check the statements T1 to T16 that lead from maximum-entropy RL to SimPO, and where that derivation ends, on finite
sets of candidates, in closed form and in float64. A residual is the largest error found; where a part says that two
things differ, it is what the gap lacks. Exit code 1 if one does not hold.

  overopt theory
  overopt theory --json
"""

OBJECTIVES = """\
The dictionary of every objective: formula, fields with defaults, what it needs, its source, and the same thing in
other libraries. Without NAME a table; with NAME all about that one.

  overopt objectives
  overopt objectives simpo
  overopt objectives --json
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options, with `verb` to be called and, of `train` and `plan`, `overrides`."""
    parser = command_line()
    overrides: list[tuple[str, str]] = []
    if arguments[:1] == ["train"]:
        arguments, overrides = split_overrides(arguments, ("--out",))
    elif arguments[:1] == ["plan"]:
        arguments, overrides = split_overrides(arguments, ("--device", "--scale", "--price"), ("--json",))
    options = parser.parse_args(arguments)
    options.overrides = overrides
    return options


def split_overrides(
    arguments: Sequence[str], with_value: Sequence[str] = ("--out",), alone: Sequence[str] = ()
) -> tuple[list[str], list[tuple[str, str]]]:
    """Flags that are settings, as pairs of address and YAML text, apart from the verb's own.

    argparse cannot do it: it would take the value of an unknown flag for CONFIG, and `-0.5` for a flag.
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
    """All verbs with their flags."""
    layout: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = argparse.ArgumentParser(prog="overopt", description=DESCRIPTION, **layout)
    parser.add_argument("--version", action="version", version=f"overopt {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    verb = verbs.add_parser("demo", help="run the miniature study", description=DEMO, **layout)
    verb.add_argument("--seed", type=_seed, default=0, metavar="N", help="default 0; from 100 on: the test split")
    verb.add_argument("--out", type=Path, metavar="DIR", help="default overopt-demo/SCALE-seed-N")
    verb.add_argument("--scale", metavar="NAME", help="xs, s (default) or m")
    verb.add_argument("--workers", type=_positive, metavar="N", help="runs at a time; default: one per core")
    verb.set_defaults(verb=run.demo)

    usage = "overopt train CONFIG [--dotted.field VALUE ...] --out RUN_DIR"
    verb = verbs.add_parser("train", help="train one stage from a YAML", description=TRAIN, usage=usage, **layout)
    verb.add_argument("config", type=Path, metavar="CONFIG", help="YAML of one stage")
    verb.add_argument("--out", type=Path, metavar="RUN_DIR", required=True, help="run directory to make")
    verb.set_defaults(verb=run.train)

    verb = verbs.add_parser("sweep", help="run grids, lists and seeds of runs", description=SWEEP, **layout)
    verb.add_argument("file", type=Path, metavar="FILE", help="YAML with runs, and grid, lists or seeds")
    verb.add_argument("--out", type=Path, metavar="DIR", help="default overopt-sweep/NAME_OF_FILE")
    verb.add_argument("--workers", type=_positive, metavar="N", help="runs at a time; default: one per core")
    verb.add_argument("--only", metavar="GLOB", help="only runs with such a name, and those they descend from")
    verb.set_defaults(verb=run.sweep)

    verb = verbs.add_parser("watch", help="a live table of runs", description=WATCH, **layout)
    verb.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="run directories, or folders that hold some")
    verb.add_argument("--once", action="store_true", help="print the table once")
    verb.add_argument("--every", type=_seconds, default=2.0, metavar="S", help="seconds between two looks; default 2")
    verb.set_defaults(verb=run.watch)

    verb = verbs.add_parser("evaluate", help="judge a run's checkpoints again", description=EVALUATE, **layout)
    verb.add_argument("run", type=Path, metavar="RUN_DIR", help="a run that has finished or stopped")
    verb.add_argument("--judge", choices=("gold", "reward_model"), help="default: gold, if the task knows it")
    verb.add_argument("--split", choices=("tuning", "test"), help="default: the run's own")
    verb.set_defaults(verb=run.evaluate)

    verb = verbs.add_parser("log", help="send a run's records to a sink", description=LOG, **layout)
    verb.add_argument("run", type=Path, metavar="RUN_DIR", help="any run directory")
    verb.add_argument("--sink", action="append", required=True, metavar="SINK", help="tensorboard, trackio or wandb")
    verb.set_defaults(verb=run.log)

    verb = verbs.add_parser("report", help="one page about runs", description=REPORT, **layout)
    verb.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="run directories, or folders that hold some")
    verb.add_argument("-o", "--out", type=Path, metavar="FILE", default=Path("report.html"), help="default report.html")
    verb.add_argument(
        "--format", type=_formats, default=("html",), metavar="KIND,...", help="html (default, with svg), svg, pdf, png"
    )
    verb.add_argument("--figures", type=_names, default=(), metavar="NAME,...", help="only these, by the names above")
    verb.add_argument("--serve", action="store_true", help="serve the page on this machine, made anew at every visit")
    verb.set_defaults(verb=run.report)

    verb = verbs.add_parser("best-of-n", help="what a proxy buys on scored candidates", description=BEST_OF_N, **layout)
    verb.add_argument("sources", type=Path, nargs="+", metavar="FILE_OR_RUNS", help="scored candidates")
    verb.add_argument("-o", "--out", type=Path, metavar="FILE", help="figure; default best-of-n-NAME.svg")
    verb.add_argument("--format", choices=("svg", "png", "pdf"), help="default: FILE's ending, or svg")
    verb.add_argument("--rouge", metavar="NAME", help="proxy of summaries, such as rouge1-recall; default rouge2-f1")
    verb.set_defaults(verb=run.best_of_n)

    verb = verbs.add_parser("plan", help="time, memory and cost before anything runs", description=PLAN, **layout)
    verb.add_argument("config", type=Path, metavar="CONFIG", help="YAML of one stage, of a study or of a sweep")
    verb.add_argument("--device", metavar="NAME", help="a GPU by name; default: this machine, measured")
    verb.add_argument("--scale", metavar="NAME", help="of a study; default: its own")
    verb.add_argument("--price", type=float, metavar="X", help="of an hour, for the cost")
    verb.add_argument("--json", action="store_true", help="rows by stage")
    verb.set_defaults(verb=run.plan)

    verb = verbs.add_parser("theory", help="check statements T1 to T16", description=THEORY, **layout)
    verb.add_argument("--json", action="store_true", help="rows of id, statement, holds, residual, tolerance")
    verb.set_defaults(verb=run.theory)

    verb = verbs.add_parser("objectives", help="the dictionary of objectives", description=OBJECTIVES, **layout)
    verb.add_argument("name", nargs="?", metavar="NAME", help="one objective; default: all")
    verb.add_argument(
        "--json", action="store_true", help="rows of name, kind, formula, fields, needs, source, elsewhere"
    )
    verb.set_defaults(verb=run.objectives)
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


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.1 to 86400, got {text!r}")
    return seconds


def _positive(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1, 2, ..., got {text!r}")
    return int(text)
