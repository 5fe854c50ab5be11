"""Figures 1 to 12 of the paper, drawn from a study's records with bands over seeds."""

from overopt.replication.figures.write import FIGURES, write_figures

__all__ = ["FIGURES", "write_figures"]
