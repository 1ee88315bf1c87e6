"""The value of a study's trials over their parameters, as figures for PNG files.

Every function that draws gives a figure, or None where there is nothing to draw.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import stdtrit

from sweep.answers.evidence import Axis, Evidence, Trial, elided
from sweep.answers.frame import (
    CROWDED,
    LONGEST_LABEL,
    MOST_PANELS,
    categories,
    decades,
    entitle,
    lettered,
)
from sweep.answers.importance import importances
from sweep.answers.interactions import Interaction, interactions
from sweep.answers.surface import Surface, surface
from sweep.recording.projection import cut

MOST_SURFACES = 3


def parameter_importances(evidence: Evidence) -> Figure | None:
    """The share of each parameter."""
    shares = importances(evidence)
    if not shares:
        return None
    titles = {axis.name: axis.title for axis in evidence.axes}
    names = [cut(titles[name], 40) for name in shares]
    figure = Figure((8, 1.5 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    means = np.array([each.mean for each in shares.values()])
    ends = np.array([[each.low, each.high] for each in shares.values()])
    reach = np.abs(ends.T - means)
    axes.barh(names, means, color="#1f77b4", xerr=reach, ecolor="#444444", capsize=3)
    for row, mean in enumerate(means):
        axes.text(ends[row, 1] + 0.012, row, f"{mean:.2f}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * ends.max())
    axes.set_xlabel("share of the variance (fANOVA); whiskers: the middle 95 % of the trees")
    entitle(figure, "Parameter importances", evidence.basis)
    return figure


def slices(evidence: Evidence) -> Figure | None:
    """The value over each parameter by itself."""
    trials = evidence.compared
    axes_of = [axis for axis in evidence.axes if any(axis.name in each.params for each in trials)]
    axes_of = axes_of[:MOST_PANELS]
    if not axes_of:
        return None
    columns = min(3, len(axes_of))
    rows = -(-len(axes_of) // columns)
    figure = Figure((4.0 * columns, 3.3 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for panel, axis in zip(panels, axes_of, strict=False):
        mine = [each for each in trials if axis.name in each.params]
        _scatter(panel, axis, mine)
    for panel in panels[len(axes_of) :]:
        panel.set_visible(False)
    for panel in panels[::columns]:
        panel.set_ylabel(evidence.results.study.metric)
    entitle(figure, "One parameter at a time", f"{evidence.basis}; bars: means, 95 % intervals")
    return figure


def _scatter(panel: Axes, axis: Axis, trials: Sequence[Trial]) -> None:
    places = np.array([axis.place(each.params[axis.name]) for each in trials])
    values = np.array([each.common for each in trials], dtype=np.float64)
    shown = places
    if axis.labels:
        shown = places + 0.22 * (np.array([each.number for each in trials]) * 0.618 % 1 - 0.5)
        _means(panel, places, values)
        categories(panel, axis.labels)
    panel.scatter(shown, values, s=14, alpha=0.65, color="#1f77b4", linewidth=0)
    if axis.log:
        panel.set_xscale("log")
        decades(panel.xaxis, places)
    panel.set_title(cut(axis.title, 40), fontsize=10)
    panel.grid(alpha=0.25, linewidth=0.6)


def _means(panel: Axes, places: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    for place in np.unique(places):
        mine = values[places == place]
        mean = mine.mean()
        panel.hlines(mean, place - 0.3, place + 0.3, color="#d95f02", linewidth=1.8)
        if len(mine) > 1:
            half = stdtrit(len(mine) - 1, 0.975) * mine.std(ddof=1) / len(mine) ** 0.5
            low, high = max(mean - half, values.min()), min(mean + half, values.max())
            panel.vlines(place, low, high, color="#d95f02", linewidth=1.2)


def contours(evidence: Evidence) -> Figure | None:
    """The value over pairs of numeric parameters."""
    surfaces = numeric_surfaces(evidence)
    if not surfaces:
        return None
    figure = Figure((5.6 * len(surfaces) + 0.4, 4.8), layout="constrained")
    panels = figure.subplots(1, len(surfaces), squeeze=False)[0]
    for panel, each in zip(panels, surfaces, strict=True):
        filled = None
        if np.ptp(each.values) > 0 and np.isfinite(each.height).any():
            filled = panel.contourf(each.grid_x, each.grid_y, each.height, 12, cmap="viridis")
            figure.colorbar(filled, ax=panel, label=evidence.results.study.metric)
        panel.scatter(each.x, each.y, s=16, color="white", edgecolors="black", linewidths=0.6)
        panel.margins(0.04)
        panel.set_xlabel(cut(each.axes[0].title, 40))
        panel.set_ylabel(cut(each.axes[1].title, 40))
        if each.axes[0].log:
            panel.set_xscale("log")
            decades(panel.xaxis, each.x)
        if each.axes[1].log:
            panel.set_yscale("log")
            decades(panel.yaxis, each.y)
    entitle(figure, "Two numbers at a time", f"{evidence.basis}; dots: trials")
    return figure


def numeric_surfaces(evidence: Evidence) -> list[Surface]:
    """The surfaces over pairs of numeric parameters: those of which most trials have both."""
    numeric = [axis for axis in evidence.axes if not axis.labels]
    pairs = ((a, b) for index, a in enumerate(numeric) for b in numeric[index + 1 :])
    found = (surface(evidence, *pair) for pair in pairs)
    most = sorted((each for each in found if each), key=lambda each: -len(each.x))
    return most[:MOST_SURFACES]


def interaction_maps(evidence: Evidence) -> Figure | None:
    """Heat maps of pairs of settings."""
    tables = interactions(evidence)
    if not tables:
        return None
    columns = min(2, len(tables))
    rows = -(-len(tables) // columns)
    wide = max(len(each.columns) for each in tables)
    high = max(len(each.rows) for each in tables)
    size = (columns * max(4.5, 1.6 + 0.95 * wide), rows * max(2.8, 1.4 + 0.6 * high) + 0.5)
    figure = Figure(size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    means = np.concatenate([each.mean[np.isfinite(each.mean)] for each in tables])
    for panel, table in zip(panels, tables, strict=False):
        _heat(panel, table, float(means.min()), float(means.max()))
    for panel in panels[len(tables) :]:
        panel.set_visible(False)
    note = f"{evidence.basis}; mean ± half of its 95 % interval over trials, (n) trials"
    entitle(figure, "Two settings at a time", note)
    return figure


def _heat(panel: Axes, table: Interaction, low: float, high: float) -> None:
    panel.imshow(table.mean, cmap="viridis", vmin=low, vmax=high or 1.0, aspect="auto")
    panel.set_xlabel(cut(table.column, 40))
    panel.set_ylabel(cut(table.row, 40))
    labels = [elided(each, LONGEST_LABEL) for each in table.columns]
    lettered(panel, labels, 30 if len(labels) >= CROWDED else 0)
    rows = [elided(each, LONGEST_LABEL) for each in table.rows]
    panel.set_yticks(range(len(rows)), rows, fontsize=8)
    for row, column in np.ndindex(table.mean.shape):
        bright = table.mean[row, column] > (low + high) / 2
        panel.text(
            column,
            row,
            cell(table, row, column),
            ha="center",
            va="center",
            fontsize=7.5,
            color="black" if bright or not table.count[row, column] else "white",
        )


def cell(table: Interaction, row: int, column: int) -> str:
    """What a cell says: its mean, its interval, its trials."""
    count = table.count[row, column]
    if not count:
        return "–"
    half = table.half[row, column]
    interval = f"\n± {half:.2g}" if np.isfinite(half) else ""
    return f"{table.mean[row, column]:.4g}{interval}\n({count})"
