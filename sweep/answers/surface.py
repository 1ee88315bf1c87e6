"""The value over two numeric settings, from trials that lie scattered between them."""

from dataclasses import dataclass

import numpy as np
from matplotlib.tri import LinearTriInterpolator, Triangulation
from numpy.typing import NDArray

from sweep.answers.evidence import Axis, Evidence

GRID = 40
"""Points of the surface along each axis."""
FEWEST = 6
"""With fewer trials there is no surface to speak of."""


@dataclass(frozen=True)
class Surface:
    """A surface and the trials below it.

    Attributes:
        x, y, values: the trials (n,).
        grid_x, grid_y: (GRID,).
        height: (GRID, GRID), rows along y; linear between the trials, NaN outside of them.
    """

    axes: tuple[Axis, Axis]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    values: NDArray[np.float64]
    grid_x: NDArray[np.float64]
    grid_y: NDArray[np.float64]
    height: NDArray[np.float64]


def surface(evidence: Evidence, first: Axis, second: Axis) -> Surface | None:
    """The surface over two numeric axes; None where the trials span no area."""
    names = (first.name, second.name)
    both = [each for each in evidence.compared if all(name in each.params for name in names)]
    if len(both) < FEWEST:
        return None
    x, y = (np.array([each.params[name] for each in both], dtype=np.float64) for name in names)
    values = np.array([each.common for each in both], dtype=np.float64)
    (u, grid_x), (v, grid_y) = _unit(first, x), _unit(second, y)
    try:
        corners = Triangulation(u, v)
    except (RuntimeError, ValueError):  # all on one line
        return None
    unit = np.linspace(0.0, 1.0, GRID)
    height = LinearTriInterpolator(corners, values)(*np.meshgrid(unit, unit)).filled(np.nan)
    return Surface((first, second), x, y, values, grid_x, grid_y, height)


def _unit(axis: Axis, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The values brought to [0, 1] on the axis' own scale, and the grid's points on it."""
    scaled = np.log(values) if axis.log else values
    low, high = scaled.min(), scaled.max()
    grid = np.linspace(low, high, GRID)
    return (scaled - low) / ((high - low) or 1.0), np.exp(grid) if axis.log else grid
