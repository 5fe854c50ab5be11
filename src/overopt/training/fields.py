"""Types of configuration fields that several stages have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Temperature = Annotated[float, Field(gt=0)]

Keep = Literal["last", "every", "best"]
"""Which checkpoints stay: the last, every one, or the one with the best win rate (held-out accuracy of pairs, where no
judge looks at completions). The run goes on from states of its own, whichever stay."""

Provenance = dict[str, Literal["paper", "recipe", "trl", "our choice"]]
"""Where a setting that departs from the recipe (Huang et al. 2024) comes from, by its address; training ignores it."""
