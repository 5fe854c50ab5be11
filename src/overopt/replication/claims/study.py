"""What a claim's test reads: a study's cells, its grids, and the thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from overopt.replication.cells import Cell, cells_of
from overopt.replication.claims.logic import Finding, all_of, any_of, untested
from overopt.replication.claims.thresholds import Thresholds
from overopt.replication.members import Members

if TYPE_CHECKING:
    from overopt.theory.checks import Check

SIZES = ("1B", "2.8B", "6.9B")
HIGH, LOW, LOWEST = "1e-6", "1e-7", "5e-8"
"""Learning rates by their names in the paper; a run's own is in its configuration."""


def maxent(size: str, lr: str) -> str:
    """The name of a row of MaxEnt runs."""
    return f"ME-{size}-{lr}"


MAXENT = (
    *(maxent("1B", HIGH), maxent("1B", LOW)),
    *(maxent("2.8B", HIGH), maxent("2.8B", LOW), maxent("2.8B", LOWEST)),
    *(maxent("6.9B", HIGH), maxent("6.9B", LOW)),
)
"""The rows of MaxEnt runs that the paper reports; its variants with other settings are not among them."""
PILOT = maxent("2.8B", HIGH)
"""The row that the paper only tried out, at one or two coefficients."""

Test = Callable[[Cell, Thresholds], Finding]
"""What is asked of a single cell."""


@dataclass(eq=False)
class Study:
    """The cells of a study by row, made once."""

    members: Members
    thresholds: Thresholds = field(default_factory=Thresholds)
    found: dict[str, Finding] = field(default_factory=dict)
    """By id what was found about claims and parts of claims."""
    _cells: dict[tuple[str, bool], tuple[Cell, ...]] = field(default_factory=dict)

    def row(self, row: str, *, labeled: bool = True) -> tuple[Cell, ...]:
        """The cells of a row, by setting."""
        if (row, labeled) not in self._cells:
            self._cells[row, labeled] = tuple(cells_of(self.members, row, labeled=labeled))
        return self._cells[row, labeled]

    def cell(self, row: str, **setting: float) -> Cell:
        """The first cell of a row with these settings; one without any run if the study does not have it."""
        found = (cell for cell in self.row(row) if setting.items() <= cell.setting.items())
        return next(found, Cell(row, setting, (), 0))

    def nonzero(self, rows: Iterable[str], name: str = "coef") -> list[Cell]:
        """The cells of several rows whose setting is not 0."""
        return [cell for row in rows for cell in self.row(row) if cell.setting.get(name)]

    def too_small(self, row: str, name: str = "coef", *, zero: bool = True) -> str | None:
        """Why a row cannot say anything about "all" values of a setting, if it cannot."""
        values = {cell.setting.get(name) for cell in self.row(row)}
        if not values:
            return f"{row} is not part of the study"
        grid = self.thresholds.grid
        least, zero = (grid.pilot, False) if row == PILOT else (grid.nonzero, zero)
        count = len(values - {0})
        if count < least:
            return f"grid too small: {row} has {count} values of {name} other than 0, {least} are needed"
        return f"grid too small: {row} lacks {name} 0" if zero and 0 not in values else None

    def every(
        self, row: str, test: Test, name: str = "coef", *, zero: bool = True, only: Callable[[Cell], bool] | None = None
    ) -> Finding:
        """A test of all values of a setting in a row, or of `only` some of them; untested if the grid is too small."""
        if problem := self.too_small(row, name, zero=zero):
            return untested(problem)
        cells = [cell for cell in self.row(row) if only is None or only(cell)]
        found = all_of(test(cell, self.thresholds) for cell in cells)
        count = len({cell.setting.get(name) for cell in self.row(row)} - {0})
        few = row == PILOT and count < self.thresholds.grid.nonzero
        return found.but(f"pilot: {row} has few coefficients ({count} other than 0)") if few else found

    def some(self, cells: Iterable[Cell], test: Test) -> Finding:
        """Whether a test holds for any of several cells."""
        return any_of(test(cell, self.thresholds) for cell in cells)

    @cached_property
    def checks(self) -> list[Check]:
        """The checks of `overopt theory`."""
        from overopt.theory.statements import verify  # imports torch

        return verify()

    @cached_property
    def qualifiers(self) -> tuple[str, ...]:
        """What limits every claim about runs."""
        scale, seeds = self.members.scale, len(self.members.seeds)
        scaled = {
            "pythia": (),
            "quick": ("quick: one size stands for 1B, 2.8B and 6.9B",),
        }.get(scale, (f"scaled: {scale} sizes stand for 1B, 2.8B and 6.9B",))
        return (*scaled, *(("one seed",) if seeds == 1 else ()))


def with_entropy(study: Study) -> tuple[list[Cell], str | None]:
    """The MaxEnt cells with an entropy bonus, and why they cannot be judged together, if so."""
    cells = study.nonzero(MAXENT)
    problem = next((problem for row in MAXENT if (problem := study.too_small(row))), None)
    return cells, problem or next((cell.problem for cell in cells if cell.problem), None)


def absent(study: Study, rows: Iterable[str]) -> str | None:
    """Which of some rows the study does not have, if any."""
    return next((f"{row} is not part of the study" for row in rows if not study.row(row)), None)
