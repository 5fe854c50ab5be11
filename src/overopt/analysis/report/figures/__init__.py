"""The page's figures by family. A figure is left out of a group that has no numbers for it."""

from __future__ import annotations

from collections.abc import Callable

from overopt.analysis.report.collect import Group
from overopt.analysis.report.figures.curves import draw_curves
from overopt.analysis.report.figures.drawing import Figure
from overopt.analysis.report.figures.gao import draw_gao
from overopt.analysis.report.figures.kl import draw_kl
from overopt.analysis.report.figures.length import draw_length
from overopt.analysis.report.figures.metrics import draw_consecutive, draw_entropy, draw_offline, draw_training
from overopt.analysis.report.figures.seeds import draw_seeds

FAMILIES: dict[str, Callable[[Group], Figure | None]] = {
    "seeds": draw_seeds,
    "curves": draw_curves,
    "gao": draw_gao,
    "kl": draw_kl,
    "consecutive": draw_consecutive,
    "entropy": draw_entropy,
    "training": draw_training,
    "length": draw_length,
    "offline": draw_offline,
}
"""The functions that draw each family, by the names that `--figures` takes and in the page's order."""
