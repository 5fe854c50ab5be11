"""A sweep of 24 short runs through a Ray cluster of this machine against the same sweep without one.

    python bench/ray_sweep.py --out DIR [--updates 14] [--rounds 1] > bench/ray_sweep.md

The runs are those of `sweep_24.py`. The cluster is up before the clock starts, as a cluster is; both commands make two
runs at a time, in turn: without Ray, with Ray, and in every further round the other way round. Each pass needs both
cores to itself.

Exits with 1 if Ray's passes took more than 1.15 times the time of the others, or if any two passes differ in a byte of
their records or weights.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import yaml
from sweep_24 import CORES, OVEROPT, content, machine, sweep

from overopt.records import load_run

LIMIT = 1.15


def timed(file: Path, out: Path, flags: list[str]) -> float:
    """Seconds of the command."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    command = [*OVEROPT, "sweep", str(file), "--out", str(out), *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def cpu_seconds(out: Path) -> float:
    """What the runs say of their own CPU time, without what starts and surrounds them."""
    return sum(load_run(run).info["cpu_seconds"] for run in sorted((out / "runs").glob("*/")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--updates", type=int, default=14, help="of each online run; the parents' steps go with it")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "sweep.yaml"
    file.write_text(yaml.safe_dump(sweep(options.updates), sort_keys=False), encoding="utf-8")
    from ray.cluster_utils import Cluster  # not above: the tests import this file without Ray

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CORES, "include_dashboard": False})
    flags = {"local": ["--workers", str(CORES)], "ray": ["--ray", cluster.address]}
    seconds: dict[str, list[float]] = {kind: [] for kind in flags}
    try:
        for round in range(options.rounds):
            for kind in list(flags)[:: 1 if round % 2 == 0 else -1]:
                seconds[kind].append(timed(file, options.out / kind, flags[kind]))
                print(f"{kind}: {seconds[kind][-1]:.1f} s", file=sys.stderr, flush=True)
    finally:
        cluster.shutdown()
    contents = {kind: content(options.out / kind) for kind in flags}
    same = contents["local"] == contents["ray"]
    ratio = sum(seconds["ray"]) / sum(seconds["local"])
    cpu = {kind: cpu_seconds(options.out / kind) for kind in flags}
    print(page(options.updates, seconds, cpu, ratio, len(contents["local"]) if same else 0))
    return int(ratio > LIMIT or not same)


def page(updates: int, seconds: dict[str, list[float]], cpu: dict[str, float], ratio: float, same: int) -> str:
    rows = [
        f"| {what} | {', '.join(f'{one:.1f} s' for one in seconds[kind])} | {cpu[kind]:.1f} s | {note} |"
        for kind, what, note in (("local", "without Ray", "1"), ("ray", "through Ray", f"{ratio:.2f}"))
    ]
    return "\n".join([
        "# A sweep of 24 short runs through Ray",
        "",
        f"`python bench/ray_sweep.py --out DIR --updates {updates} --rounds {len(seconds['ray'])}`",
        f"on {machine()}, Ray {version('ray')}.",
        f"What is measured, and how, is said at the head of the script. The limit is {LIMIT} times.",
        "",
        "| two runs at a time | wall clock | CPU time within the runs | times |",
        "|---|---|---|---|",
        *rows,
        "",
        f"Records and weights: {f'{same} files, equal byte for byte' if same else 'DIFFERENT'}.",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
