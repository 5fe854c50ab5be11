"""Labels of finished demo runs before and after the correction for many looks, and what their reward models' gate says.

    python bench/relabel.py OUT/s-seed-*

Nothing is trained: labels come from the records, and the counts of words from a reward model's recorded pairs and its
checkpoint, so that records made before there were baselines can be asked, too.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from false_positives import label_before

from overopt.engine.compute import Compute
from overopt.models.load import load_reward_model
from overopt.models.text import Codec
from overopt.outcomes import label
from overopt.records import Run, load_run
from overopt.training.data import Limits
from overopt.training.heldout import Heldout
from overopt.training.pairs import from_row
from overopt.types import Dropped

RUNS = ("kl", "none", "maxent-0.5", "maxent-2", "maxent-0.5-low-lr", "simpo-low-lr", "simpo-high-lr")


def main(folders: Sequence[Path]) -> None:
    changes: Counter[tuple[str, str, str]] = Counter()
    print("Agreement with gold over that of the labels, of the model and of counts.\n")
    print("| seed | model | length | words | content | above the nearest, SE | labels that changed |")
    print("|---|---|---|---|---|---|---|")
    for folder in sorted(folders, key=lambda folder: int(folder.name.split("-")[-1])):
        runs = [load_run(folder / "runs" / name) for name in RUNS]
        labels = {run.name: (label_before(run), str(label(run).label)) for run in runs}  # type: ignore[arg-type]
        changes.update((name, *pair) for name, pair in labels.items())
        changed = ", ".join(f"`{name}` {old} to {new}" for name, (old, new) in labels.items() if old != new)
        row = agreement(load_run(folder / "runs" / "reward_model"))
        counts = [row[f"baseline_{name}_agreement"] / row["label_ceiling"] for name in ("length", "words", "content")]
        cells = [f"{share:.2f}" for share in (row["agreement_ratio"], *counts)] + [f"{row['above_baselines']:.1f}"]
        print(f"| {folder.name.split('-')[-1]} | {' | '.join(cells)} | {changed or '-'} |", flush=True)
    print("\n| run | before | after |\n|---|---|---|")
    for name in RUNS:
        said = [Counter[str](), Counter[str]()]
        for (run, old, new), count in changes.items():
            if run == name:
                said[0][old] += count
                said[1][new] += count
        cells = [", ".join(f"{one} {count}" for one, count in some.most_common()) for some in said]
        print(f"| `{name}` | {' | '.join(cells)} |")


def agreement(run: Run) -> dict[str, float]:
    """The last evaluation of a reward model, made again."""
    model = load_reward_model(run.checkpoint(), torch.device("cpu"))
    rows = list(run.pairs())
    train, held = ([from_row(row) for row in rows if row["heldout"] == which] for which in (False, True))
    limits = Limits(512, run.config["max_completion_tokens"])
    heldout = Heldout.of(Codec(model.tokenizer, "raw"), held, train, 2, limits, Dropped())
    return heldout.agreement(model, Compute().evaluation_budget)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
