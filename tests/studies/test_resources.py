"""What a run takes up of a cluster's machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from overopt.errors import ConfigError
from overopt.studies.resources import Resources, resources_of
from overopt.studies.run import sweep_run

SFT: dict[str, Any] = {"stage": "sft", "task": "miniature", "model": {"name": "scratch"}, "lr": 0.1, "steps": 1}


def test_by_default_a_run_needs_what_its_compute_says() -> None:
    assert resources_of({}, []) == {"CPU": 1.0}
    assert resources_of({"compute": {"threads": 3, "device": "cpu"}}, []) == {"CPU": 3.0}
    assert resources_of({"compute": {"threads": None, "device": "cuda"}}, []) == {"CPU": 1.0, "GPU": 1.0}


def test_a_narrower_selector_replaces_only_what_it_names() -> None:
    wide = Resources(cpus=4, gpus=1, memory_gb=2, others={"a100": 1})
    narrow = Resources(gpus=0.5, others={"disk": 0.1})
    assert resources_of({}, [wide, narrow]) == {"CPU": 4.0, "GPU": 0.5, "memory": 2e9, "a100": 1.0, "disk": 0.1}
    assert resources_of({"compute": {"device": "cuda"}}, [Resources(gpus=0)]) == {"CPU": 1.0}


def test_the_jobs_of_a_sweep_carry_them(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    tree = {
        "runs": {"a": SFT, "b": SFT | {"compute": {"threads": 2, "device": "cpu"}}},
        "resources": {"*": {"memory_gb": 1}, "b": {"cpus": 3}, "sft": {"cpus": 0.5}},
    }
    file.write_text(yaml.safe_dump(tree))
    jobs = {job.name: job.resources for job in sweep_run(file, tmp_path / "out").jobs}
    assert jobs == {"a": {"CPU": 0.5, "memory": 1e9}, "b": {"CPU": 3.0, "memory": 1e9}}


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"kl": {"gpus": 1}}, "resources.kl: neither a run nor a stage"),
        ({"a": {"gpus": 2}}, "less than or equal to 1|at most 1|<= 1"),
        ({"a": {"gpu": 1}}, "gpus"),
    ],
)
def test_what_is_refused(resources: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump({"runs": {"a": SFT}, "resources": resources}))
    with pytest.raises(ConfigError, match=message):
        sweep_run(file, tmp_path / "out")
