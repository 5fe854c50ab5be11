"""The page's figures, one family a file. A figure that a group has no numbers for is left out."""

from __future__ import annotations

from collections.abc import Callable

from overopt.analysis.report.collect import Group
from overopt.analysis.report.figures import consecutive, curves, entropy, gao, kl, length, offline, seeds, training
from overopt.analysis.report.figures.drawing import Figure

FAMILIES: dict[str, Callable[[Group], Figure | None]] = {
    "seeds": seeds.figure,
    "curves": curves.figure,
    "gao": gao.figure,
    "kl": kl.figure,
    "consecutive": consecutive.figure,
    "entropy": entropy.figure,
    "training": training.figure,
    "length": length.figure,
    "offline": offline.figure,
}
"""By the names that `--figures` takes, in the page's order."""
