"""A sweep of 24 short runs through a Ray cluster of this machine against the same sweep without one.

    python bench/ray_sweep.py --out DIR [--updates 14] [--rounds 1] > bench/ray_sweep.md

The runs are those of `sweep_24.py`. The cluster is up before the clock starts, as a cluster is; both commands make two
runs at a time, in turn: without Ray, with Ray, and in every further round the other way round. Each pass needs both
cores to itself; the CPU time of all processes that it keeps busy, Ray's own among them, tells more where it has not.

Exits with 1 if Ray's passes took more than 1.15 times the time of the others, or if any two passes differ in a byte of
their records or weights.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import yaml
from sweep_24 import CORES, OVEROPT, content, machine, sweep

LIMIT = 1.15


SAMPLED_EVERY = 0.5
"""Seconds between two looks at the processes; what one uses after the last look at it is lost."""


def timed(file: Path, out: Path, flags: list[str]) -> tuple[float, float]:
    """Seconds of the command, and CPU seconds of all that descends from this process, in that time."""
    shutil.rmtree(out, ignore_errors=True)
    before, last = cpu_seconds(), {}
    start = time.perf_counter()
    command = [*OVEROPT, "sweep", str(file), "--out", str(out), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        last |= cpu_seconds()
        time.sleep(SAMPLED_EVERY)
    if process.returncode:
        raise SystemExit(f"overopt sweep: exit status {process.returncode}")
    return time.perf_counter() - start, sum(last.values()) - sum(before.get(pid, 0.0) for pid in last)


def cpu_seconds() -> dict[int, float]:
    """CPU seconds of every living descendant of this process."""
    used, parent = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(file.parent.name)
        parent[pid], used[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    found = {os.getpid()}
    while more := {pid for pid, above in parent.items() if above in found} - found:
        found |= more
    return {pid: used[pid] for pid in found - {os.getpid()} if pid in used}


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

    passes: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}
    for turn in range(options.rounds):
        for kind in list(passes)[:: 1 if turn % 2 == 0 else -1]:
            if kind == "local":
                passes[kind].append(timed(file, options.out / kind, ["--workers", str(CORES)]))
            else:
                cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CORES, "include_dashboard": False})
                try:
                    passes[kind].append(timed(file, options.out / kind, ["--ray", cluster.address]))
                finally:
                    cluster.shutdown()
            print(f"{kind}: %.1f s, of CPU %.1f s" % passes[kind][-1], file=sys.stderr, flush=True)
    contents = {kind: content(options.out / kind) for kind in passes}
    same = contents["local"] == contents["ray"]
    totals = {kind: [sum(column) for column in zip(*found, strict=True)] for kind, found in passes.items()}
    ratios = [with_ray / without for with_ray, without in zip(totals["ray"], totals["local"], strict=True)]
    print(page(options.updates, passes, ratios, len(contents["local"]) if same else 0))
    return int(ratios[0] > LIMIT or not same)


def page(updates: int, passes: dict[str, list[tuple[float, float]]], ratios: list[float], same: int) -> str:
    rows = []
    for kind, what in (("local", "without Ray"), ("ray", "through Ray")):
        wall, cpu = (", ".join(f"{one:.1f} s" for one in column) for column in zip(*passes[kind], strict=True))
        rows.append(f"| {what} | {wall} | {cpu} |")
    rows.append(f"| through Ray, times without | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    return "\n".join([
        "# A sweep of 24 short runs through Ray",
        "",
        f"`python bench/ray_sweep.py --out DIR --updates {updates} --rounds {len(passes['ray'])}`",
        f"on {machine()}, Ray {version('ray')}.",
        f"What is measured, and how, is said at the head of the script. The limit is {LIMIT} times.",
        "",
        "| two runs at a time | wall clock | CPU time |",
        "|---|---|---|",
        *rows,
        "",
        f"Records and weights: {f'{same} files, equal byte for byte' if same else 'DIFFERENT'}.",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
