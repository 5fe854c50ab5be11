"""Rehearses every recipe on this machine, from the download to the judged report (`make rehearsal`).

The recipes' own study files, with the sizes of `sizes.yaml`, run as a user runs them: `overopt study`, whose models and
data sets come from a Hub on loopback, under the names of the real ones and in their file layouts, and whose judge is an
API on loopback. Models are small and random, but for SmolLM2-135M-Instruct, which is real (`make example`, or --real).
Prints how each rehearsal differs from its recipe, checks what it left, and prints what it took.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "fakes"))

import rehearsed  # noqa: E402
from faulty_api import FaultyAPI  # noqa: E402
from hub_world import write_world  # noqa: E402
from judge_replies import reply_in_form  # noqa: E402

from hub import LoopbackHub  # noqa: E402
from overopt.addresses import flatten  # noqa: E402
from overopt.hub.names import COMMIT  # noqa: E402
from overopt.outcomes import JUDGED_STAGES  # noqa: E402
from overopt.records import Run, load_run  # noqa: E402

HUB_TOKEN, JUDGE_KEY = "hf_planted0123456789abcdefghijklmnop", "sk-planted0123456789abcdefghijklmnop"
POISON = ("pytorch_model.bin", ".pth")
"""Files of the repositories that nothing may fetch."""
LIMIT = 20 * 60
"""CPU seconds that all rehearsals may take: six demos."""


@dataclass(frozen=True)
class Rehearsal:
    """What one recipe took at one scale, and what it left."""

    name: str
    runs: int
    judged: int
    """Checkpoints with a win rate."""
    cpu: float
    wall: float
    report: Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "rehearsal")
    parser.add_argument("--real", type=Path, default=ROOT / "out" / "example" / "model", help="SmolLM2's folder")
    parser.add_argument("--only", help="one recipe")
    options = parser.parse_args()
    out = options.out.resolve()
    if out.exists() and not (out / "hub").is_dir():
        parser.error(f"{out} exists, and holds no rehearsal; name another folder")
    shutil.rmtree(out, ignore_errors=True)
    gated = write_world(out / "hub", options.real.resolve())
    done = []
    with LoopbackHub(token=HUB_TOKEN) as hub, FaultyAPI(key=JUDGE_KEY, reply=reply_in_form) as api:
        hub.add_folder(out / "hub")
        for kind, name in gated:
            hub.repositories[kind, name].gated = True
        judge = {"OPENAI_API_KEY": JUDGE_KEY, "OPENAI_BASE_URL": api.url, "XDG_CACHE_HOME": str(out / "cache")}
        environment = os.environ | hub.environment(out / "hub-cache", HUB_TOKEN) | judge
        for recipe, scales in rehearsed.REHEARSED.items():
            for scale in scales if options.only in (None, recipe) else ():
                done.append(rehearse(recipe, scale, out / f"{recipe}-{scale}", environment))
        assert hub.wrong == [] and api.wrong == [], (hub.wrong, api.wrong)
        assert not [r.path for r in hub.requests if r.path.endswith(POISON)], "a pickle was asked for"
    assert (planted := secrets_in(out)) == [], f"a secret was written: {planted}"
    print(table(done))
    if (cpu := sum(one.cpu for one in done)) > LIMIT:
        print(f"the rehearsals took {cpu:.0f} CPU seconds, more than the {LIMIT} that they may take", file=sys.stderr)
        return 1
    return 0


def rehearse(recipe: str, scale: str, folder: Path, environment: dict[str, str]) -> Rehearsal:
    """Run a recipe's study at a scale; check and describe it."""
    file = rehearsed.write_rehearsal(recipe, scale, folder)
    study = rehearsed.expanded(file, scale)
    print(f"\n{recipe}, scale {scale}: {len(study.runs)} runs; in the recipe -> here", flush=True)
    found = list(rehearsed.differences(rehearsed.expanded(rehearsed.recipe_file(recipe), scale), study))
    print(*(f"  {line}" for line in rehearsed.describe(found)), sep="\n", flush=True)
    command = ["study", str(file), "--scale-set", scale, "--out", str(folder / "study"), "--workers", "1"]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "overopt", *command], env=environment, cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    runs = [load_run(folder / "study" / "runs" / name) for name in study.runs]
    judged = sum(check(run) for run in runs)
    report = folder / "study" / "report.html"
    assert all(run.name in report.read_text("utf-8") for run in runs if run.stage in JUDGED_STAGES)
    photograph(report)
    return Rehearsal(f"{recipe} {scale}", len(runs), judged, cpu, time.monotonic() - began, report)


def check(run: Run) -> int:
    """Assert that a run left all that it should; return how many of its checkpoints have a win rate."""
    assert run.complete, f"{run.path}: {run.status}"
    assert list(run.iter_metrics()), f"{run.path}: no step is recorded"
    pinned = run.info.get("hub", {})
    named = {where: value for where, value in flatten(run.config).items() if str(value).startswith("hf://")}
    assert {where: one["location"] for where, one in pinned.items()} == named, f"{run.path}: {pinned}"
    assert all(COMMIT.fullmatch(one["commit"]) for one in pinned.values()), f"{run.path}: {pinned}"
    evaluations = run.evaluations()
    if run.stage == "reward_model":
        assert [row["accuracy"] for row in evaluations if row["judge"] == "pairs"]
    if run.stage not in JUDGED_STAGES:
        return 0
    (judge,) = [judge for judge in run.judges() if judge.startswith("openai/")]
    rows = run.evaluations(judge)
    assert [row["step"] for row in rows] == run.sample_steps()
    assert all(row["win_rate"] is not None and row["n"] > 0 for row in rows), f"{run.path}: {rows}"
    return len(rows)


def secrets_in(out: Path) -> list[str]:
    """The files that hold one of the planted secrets."""
    planted = [HUB_TOKEN.encode(), JUDGE_KEY.encode()]
    files = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    return [str(path) for path in files if any(secret in path.read_bytes() for secret in planted)]


def photograph(report: Path) -> None:
    """Open the report in Chromium, if there is one, as a user would; `report.png` beside it shows what was seen."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("  the report was not opened: there is no Chromium here")
        return
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--window-size=1280,2400"]
    seen = ["--dump-dom", f"--screenshot={report.with_suffix('.png')}"]
    for look in seen:
        done = subprocess.run([chromium, *flags, look, report.as_uri()], capture_output=True, text=True, check=True)
        assert look != "--dump-dom" or 'data-ready="true"' in done.stdout, f"{report}: the page does not get ready"


def table(done: list[Rehearsal]) -> str:
    lines = [f"{'rehearsal':28}{'runs':>6}{'judged':>8}{'CPU s':>8}{'wall s':>8}  report"]
    lines += [f"{r.name:28}{r.runs:6}{r.judged:8}{r.cpu:8.0f}{r.wall:8.0f}  {r.report}" for r in done]
    cpu, wall = sum(r.cpu for r in done), sum(r.wall for r in done)
    lines.append(f"{'all':28}{sum(r.runs for r in done):6}{sum(r.judged for r in done):8}{cpu:8.0f}{wall:8.0f}")
    return "\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
