"""Two settings at a time: the mean of every combination that was tried, with its interval."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from sweep.answers.evidence import Axis, Evidence

BINS = 4
"""Into how many bins of equal width a range is cut."""
MOST_PAIRS = 6
BINNED = "model."
"""Where the paths begin of the ranges that are cut into bins."""


@dataclass(frozen=True)
class Interaction:
    """A table of two settings.

    Attributes:
        mean: (rows, columns); NaN where nothing was tried.
        half: half the width of the 95 % interval of the mean (Student's t over trials); NaN for
            fewer than two trials.
        count: trials in the cell.
    """

    row: str
    column: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    mean: NDArray[np.float64]
    half: NDArray[np.float64]
    count: NDArray[np.int64]


@dataclass(frozen=True)
class _Factor:
    """A parameter whose values fall into few levels."""

    axis: Axis
    levels: tuple[str, ...]
    edges: tuple[float, ...] = ()

    def level(self, value: Any) -> int:
        """The index of the level of a value."""
        if self.axis.labels:
            return int(self.axis.place(value))
        inside = np.searchsorted(self.edges, value, side="right") - 1
        return int(np.clip(inside, 0, len(self.levels) - 1))


def interactions(evidence: Evidence) -> list[Interaction]:
    """The tables of the first pairs of choices, and of ranges of the model cut into bins."""
    trials = evidence.compared
    factors = [each for axis in evidence.axes if (each := _factor(axis, evidence)) is not None]
    pairs = itertools.islice(itertools.combinations(factors, 2), MOST_PAIRS)
    return [_table(row, column, trials) for row, column in pairs]


def _factor(axis: Axis, evidence: Evidence) -> _Factor | None:
    """None for what not every trial has, or has in one level only."""
    values = [trial.params.get(axis.name) for trial in evidence.compared]
    if any(axis.name not in trial.params for trial in evidence.compared) or not values:
        return None
    if axis.labels:
        return _Factor(axis, axis.labels) if len(axis.labels) > 1 else None
    numbers = np.array(values, dtype=np.float64)
    low, high = numbers.min(), numbers.max()
    if not axis.name.startswith(BINNED) or low == high:
        return None
    edges = np.geomspace(low, high, BINS + 1) if axis.log else np.linspace(low, high, BINS + 1)
    levels = [f"{a:.2g} – {b:.2g}" for a, b in itertools.pairwise(edges)]
    return _Factor(axis, tuple(levels), tuple(edges.tolist()))


def _table(row: _Factor, column: _Factor, trials: Sequence[Any]) -> Interaction:
    shape = (len(row.levels), len(column.levels))
    cells: dict[tuple[int, int], list[float]] = {}
    for trial in trials:
        place = row.level(trial.params[row.axis.name]), column.level(trial.params[column.axis.name])
        cells.setdefault(place, []).append(trial.common)
    mean, half = np.full(shape, np.nan), np.full(shape, np.nan)
    count = np.zeros(shape, np.int64)
    for place, values in cells.items():
        mean[place], count[place] = np.mean(values), len(values)
        if len(values) > 1:
            error = np.std(values, ddof=1) / np.sqrt(len(values))
            half[place] = stdtrit(len(values) - 1, 0.975) * error
    return Interaction(
        row.axis.title, column.axis.title, row.levels, column.levels, mean, half, count
    )
