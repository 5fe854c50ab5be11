"""What a run of a study takes up of a cluster's machine: `resources` of the study's YAML, by selector.

```yaml
resources:
  "*": {cpus: 1}
  online: {gpus: 1, cpus: 4, memory_gb: 60}
  "*-6.9B*": {others: {a100: 1}}                # names that the machines of the cluster were started with
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated, Any

from pydantic import Field

from overopt.config import block

GB = 1e9


@block
class Resources:
    """Reserved for a run; null: what a wider selector says, or else what the run's `compute` asks for."""

    cpus: Annotated[float, Field(gt=0)] | None = None
    """By default `compute.threads`, or 1."""
    gpus: Annotated[float, Field(ge=0, le=1)] | None = None
    """By default 1 if `compute.device` is cuda, else 0. A part, such as 0.5, lets runs share a GPU."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    others: dict[str, Annotated[float, Field(gt=0)]] = field(default_factory=dict)


def resources_of(config: Mapping[str, Any], chosen: Iterable[Resources]) -> dict[str, float]:
    """The resources of a run by Ray's names; `chosen` are those of its selectors, from wide to narrow."""
    compute = config.get("compute", {})
    needs = {"CPU": float(compute.get("threads") or 1), "GPU": float(compute.get("device") == "cuda")}
    for one in chosen:
        memory = None if one.memory_gb is None else one.memory_gb * GB
        given = {"CPU": one.cpus, "GPU": one.gpus, "memory": memory, **one.others}
        needs |= {name: float(amount) for name, amount in given.items() if amount is not None}
    return {name: amount for name, amount in needs.items() if amount}
