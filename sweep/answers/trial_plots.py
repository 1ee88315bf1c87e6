"""The trials of a study over their epochs and numbers, as figures for PNG files.

Every function that draws gives a figure, or None where there is nothing to draw.
"""

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from sweep.answers.evidence import Evidence, Trial, elided, short
from sweep.answers.frame import MOST_PANELS, SIDES, colour, entitle, framed
from sweep.recording.projection import cut

LONGEST_OPTION = 30


def compared_groups(evidence: Evidence) -> Figure | None:
    """The learning curves of the groups that claims compare."""
    found = evidence.comparisons[:MOST_PANELS]
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
    entitle(figure, "The groups that claims compare", "mean and ± sd over replicates, (n) trials")
    return figure


def optimisation_history(evidence: Evidence) -> Figure | None:
    """Values over trial numbers, and the best so far."""
    valued = [each for each in evidence.trials if each.value is not None]
    if not valued:
        return None
    figure, axes = framed(evidence, "Optimisation history")
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
    figure, axes = framed(evidence, "Values by rung")
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
