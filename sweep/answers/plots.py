"""The pictures of a study as PNG files, one function a picture; see `charts` for interactive ones.

Every function gives a figure, or None where there is nothing to draw.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis as Ruler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy.special import stdtrit

from sweep.answers import pareto
from sweep.answers.confusion import MOST_CLASSES
from sweep.answers.evidence import Axis, Evidence, Trial, elided, short
from sweep.answers.importance import importances
from sweep.answers.interactions import Interaction, interactions
from sweep.answers.surface import Surface, surface
from sweep.recording.confusion_matrix import matrix
from sweep.recording.projection import cut

COLOURS = {"complete": "#1f77b4", "pruned": "#9a9a9a", "failed": "#d62728"}
OTHERS = "#e08214"
SIDES = ("#1f77b4", "#d95f02")
"""The colours of the two options of a claim."""
LONGEST_LABEL, LONGEST_OPTION = 22, 30
MOST_SLICES = 12
MOST_SURFACES = 3
CROWDED = 5
"""From so many categories on their labels are slanted."""


def colour(state: str) -> str:
    """The colour of trials in a state."""
    return COLOURS.get(state, OTHERS)


def draw(evidence: Evidence, folder: Path) -> list[str]:
    """Draws every picture there is something for into PNG files; their names."""
    names = []
    for name, paint in PICTURES.items():
        figure = paint(evidence)
        if figure is not None:
            FigureCanvasAgg(figure)
            figure.savefig(folder / f"{name}.png", dpi=110)
            names.append(name)
    return names


def compared_groups(evidence: Evidence) -> Figure | None:
    """The learning curves of the groups that claims compare."""
    found = evidence.comparisons[:MOST_SLICES]
    if not found:
        return None
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure = Figure((max(4.0 * columns, 6.0), 3.3 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, each in zip(panels, found, strict=False):
        for group, shade in zip(each.groups, SIDES, strict=True):
            epochs = np.arange(1, len(group.mean) + 1)
            label = f"{elided(group.label, LONGEST_OPTION)} ({group.trials})"
            marker = "o" if len(epochs) == 1 else None
            panel.plot(epochs, group.mean, color=shade, linewidth=1.6, marker=marker, label=label)
            band = group.mean - group.sd, group.mean + group.sd
            panel.fill_between(epochs, *band, color=shade, alpha=0.2, linewidth=0)
        panel.set_title(textwrap.fill(each.claim.name, 40), fontsize=9)
        panel.set_ylabel(each.claim.by, fontsize=9)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        names = [axis.name for axis in evidence.axes]
        fields = ", ".join(short(each, names) for each in each.claim.fields)
        panel.legend(title=cut(fields, 40), title_fontsize=8, fontsize=8, framealpha=0.85)
        panel.grid(alpha=0.25, linewidth=0.6)
    for panel in panels[len(found) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(found) - columns) : len(found)]:
        panel.set_xlabel("epoch")
    _entitle(figure, "The groups that claims compare", "mean and ± sd over replicates, (n) trials")
    return figure


def optimisation_history(evidence: Evidence) -> Figure | None:
    """Values over trial numbers, and the best so far."""
    valued = [each for each in evidence.trials if each.value is not None]
    if not valued:
        return None
    figure, axes = _figure(evidence, "Optimisation history")
    for state in dict.fromkeys(each.state for each in valued):
        mine = [each for each in valued if each.state == state]
        whole = state == "complete"
        axes.errorbar(
            [each.number for each in mine],
            [each.value or 0.0 for each in mine],
            [each.sd or 0.0 for each in mine] if whole else None,
            fmt="o",
            markersize=5 if whole else 3.5,
            color=colour(state),
            ecolor="#9ecae1",
            elinewidth=1.2,
            alpha=1.0 if whole else 0.6,
            label="complete (± sd over replicates)" if whole else f"{state}: the last value",
        )
    numbers, best = best_so_far(evidence)
    if numbers:
        axes.step(numbers, best, where="post", color="#d95f02", linewidth=1.5, label="best so far")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.03, y=0.06)
    axes.legend(fontsize=8, framealpha=0.85)
    return figure


def best_so_far(evidence: Evidence) -> tuple[list[int], list[float]]:
    """The best value of the complete trials up to each trial's number."""
    better = max if evidence.results.study.maximize else min
    numbers: list[int] = []
    best: list[float] = []
    for each in evidence.trials:
        if each.state == "complete" and each.value is not None:
            best.append(better(each.value, best[-1]) if best else each.value)
            numbers.append(each.number)
    if numbers and numbers[-1] != evidence.trials[-1].number:
        numbers, best = [*numbers, evidence.trials[-1].number], [*best, best[-1]]
    return numbers, best


def course(trial: Trial) -> tuple[list[int], list[float]]:
    """The epochs and the values of a trial at its rungs and its end."""
    points = dict(trial.rungs)
    if trial.value is not None and trial.epoch:
        points[trial.epoch] = trial.value
    return sorted(points), [points[epoch] for epoch in sorted(points)]


def intermediate_values(evidence: Evidence) -> Figure | None:
    """The values of every trial by rung; None where all trials ended at one."""
    courses = [(each, *course(each)) for each in evidence.trials]
    courses = [each for each in courses if each[1]]
    rungs = sorted({epoch for _, epochs, _ in courses for epoch in epochs})
    if len(rungs) < 2:
        return None
    figure, axes = _figure(evidence, "Values by rung")
    seen = set()
    for trial, epochs, values in courses:
        whole = trial.state == "complete"
        axes.plot(
            epochs,
            values,
            marker="o",
            markersize=3.5,
            linewidth=1.3 if whole else 0.7,
            alpha=0.85 if whole else 0.45,
            zorder=3 if whole else 2,
            color=colour(trial.state),
            label=None if trial.state in seen else trial.state,
        )
        seen.add(trial.state)
    if rungs[-1] >= 8 * rungs[0]:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if len(rungs) <= 12:
        axes.set_xticks(rungs, [str(each) for each in rungs])
    axes.set_xlabel("epochs completed")
    axes.legend(fontsize=8)
    return figure


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
    _entitle(figure, "Parameter importances", evidence.basis)
    return figure


def slices(evidence: Evidence) -> Figure | None:
    """The value over each parameter by itself."""
    trials = evidence.compared
    axes_of = [axis for axis in evidence.axes if any(axis.name in each.params for each in trials)]
    axes_of = axes_of[:MOST_SLICES]
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
    _entitle(figure, "One parameter at a time", f"{evidence.basis}; bars: means, 95 % intervals")
    return figure


def _scatter(panel: Axes, axis: Axis, trials: Sequence[Trial]) -> None:
    places = np.array([axis.place(each.params[axis.name]) for each in trials])
    values = np.array([each.common for each in trials], dtype=np.float64)
    shown = places
    if axis.labels:
        shown = places + 0.22 * (np.array([each.number for each in trials]) * 0.618 % 1 - 0.5)
        _means(panel, places, values)
        _categories(panel, axis.labels)
    panel.scatter(shown, values, s=14, alpha=0.65, color="#1f77b4", linewidth=0)
    if axis.log:
        panel.set_xscale("log")
        _decades(panel.xaxis, places)
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


def _categories(panel: Axes, labels: Sequence[str]) -> None:
    texts = [elided(each, LONGEST_LABEL) for each in labels]
    slanted = len(texts) >= CROWDED or sum(map(len, texts)) > 30
    panel.set_xticks(
        range(len(texts)),
        texts,
        rotation=35 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
        fontsize=8,
    )
    panel.set_xlim(-0.6, len(texts) - 0.4)


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
            _decades(panel.xaxis, each.x)
        if each.axes[1].log:
            panel.set_yscale("log")
            _decades(panel.yaxis, each.y)
    _entitle(figure, "Two numbers at a time", f"{evidence.basis}; dots: trials")
    return figure


def _decades(ruler: Ruler, values: NDArray[np.float64]) -> None:
    """Few ticks, as plain numbers, where an axis spans too few decades for powers of ten."""
    low, high = values.min(), values.max()
    if high < 100 * low:
        ticks = np.geomspace(low, high, 4 if high > 1.05 * low else 1)
        ruler.set_ticks(ticks, [f"{each:.2g}" for each in ticks])
        ruler.set_minor_locator(NullLocator())


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
    _entitle(figure, "Two settings at a time", note)
    return figure


def _heat(panel: Axes, table: Interaction, low: float, high: float) -> None:
    panel.imshow(table.mean, cmap="viridis", vmin=low, vmax=high or 1.0, aspect="auto")
    panel.set_xlabel(cut(table.column, 40))
    panel.set_ylabel(cut(table.row, 40))
    labels = [elided(each, LONGEST_LABEL) for each in table.columns]
    slanted = len(labels) >= CROWDED
    panel.set_xticks(
        range(len(labels)),
        labels,
        rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
        fontsize=8,
    )
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


def confusion_matrix(evidence: Evidence) -> Figure | None:
    """What the winner takes each class for, on validation rows."""
    found = evidence.confusion
    if found is None or len(found["counts"]) > MOST_CLASSES:
        return None
    note = f"winner #{found['trial']}, validation rows, {found['replicates']} replicates added up"
    return matrix(found["counts"], found["classes"], note)


def _figure(evidence: Evidence, title: str) -> tuple[Figure, Axes]:
    figure = Figure((8, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_ylabel(evidence.results.study.metric)
    _entitle(figure, title, evidence.results.study.name)
    return figure, axes


def _entitle(figure: Figure, title: str, note: str) -> None:
    figure.suptitle(f"{title}\n{cut(note, 110)}", fontsize=10, parse_math=False)


PICTURES: Mapping[str, Callable[[Evidence], Figure | None]] = {
    "compared_groups": compared_groups,
    "pareto_front": pareto.painted,
    "optimisation_history": optimisation_history,
    "intermediate_values": intermediate_values,
    "parameter_importances": parameter_importances,
    "slices": slices,
    "contours": contours,
    "interactions": interaction_maps,
    "confusion_matrix": confusion_matrix,
}
"""Every picture by the name of its file."""
