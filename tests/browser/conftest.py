"""The pages that the browser opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_runs import BETTER, WORSE, Evaluated, base_run, offline_run, online_run

from browser import HOSTILE, start
from overopt.analysis.report.collect import collect
from overopt.analysis.report.write import write_report

DEMO = Path(__file__).parents[2] / "out/demo/report.html"


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    started = start()
    yield started
    started.quit()


@pytest.fixture(scope="session")
def demo_file() -> Path:
    assert DEMO.is_file(), "needs the demo's report: make demo"
    return DEMO


@pytest.fixture(scope="session")
def made_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hand-made runs with everything that is hard to show: many, unfinished, broken, hostile, unreadable ones."""
    folder = tmp_path_factory.mktemp("made")
    runs = folder / "runs"
    online_run(runs / "kl", (*BETTER[:2], Evaluated(20, 10, 1.0, -0.2, 2.0, texts=HOSTILE, prompt=HOSTILE[0])))
    online_run(runs / "none", WORSE, changes={"regularizers": []})
    online_run(runs / "going", BETTER[:2], status=None, changes={"lr": 1e-5})
    online_run(runs / "unscored", (Evaluated(0, 4, None, None, None),), status="diverged", changes={"lr": 1e-2})
    name = f"{HOSTILE[1]}-{'long-' * 20}"
    online_run(runs / "hostile", WORSE, name=name, changes={"lr": HOSTILE[0], "note": HOSTILE[1]})
    for seed in range(30):
        evaluations = (*(WORSE if seed % 3 else BETTER), Evaluated(80, seed // 3, seed / 10, -1.0, float(seed)))
        offline_run(runs / f"simpo-{seed}", evaluations, changes={"seed": seed})
    base_run(runs / "sft")
    (base_run(runs / "broken") / "run.json").write_text("{")
    out = folder / "report.html"
    write_report(collect([runs]), out)
    return out
