"""Learning curves: train and validation loss, and accuracy or R², over epochs, as a PNG file.

A painter keeps one figure and draws every picture on it: making the axes and their ticks anew costs
more than the curves.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sweep.figures import SCORES
from sweep.recording.projection import cut, described, mean_and_sd
from sweep.recording.records import Epochs, Record, TrialEnded, TrialStarted

PANELS = ("loss", "score")
SPLITS = {"train": ("train", "#1f77b4"), "val": ("validation", "#d95f02")}
"""The label and the colour of the curves of each split."""
LONGEST_HEADING, LONGEST_LINE = 45, 105
"""How many characters fit beside the legend, and in a line below it."""
MOST_LINES = 5
"""Up to so many replicates have thin lines of their own."""
LOGARITHMIC_FROM = 100
"""The ratio of the largest to the smallest loss from which its axis is logarithmic."""

History = Mapping[str, NDArray[np.floating]]


class CurvePainter:
    """Draws learning curves, one after another."""

    def __init__(self) -> None:
        self._figure = Figure((8, 3.6), 100)
        FigureCanvasAgg(self._figure)
        self._axes = dict(zip(PANELS, self._figure.subplots(1, 2), strict=True))
        self._figure.subplots_adjust(left=0.078, right=0.985, bottom=0.125, top=0.765, wspace=0.18)
        self._heading = self._line(0.975, fontsize=11, weight="bold")
        self._outcome = self._line(0.905, fontsize=9, linespacing=1.3)
        for axes in self._axes.values():
            axes.set_xlabel("epoch", labelpad=1)
            axes.grid(alpha=0.25, linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        handles = [Line2D([], [], color=c, linewidth=1.8, label=s) for s, c in SPLITS.values()]
        self._figure.legend(
            handles=[*handles, Patch(color="grey", alpha=0.3, label="± sd over replicates")],
            loc="upper right",
            ncols=3,
            fontsize=9,
            frameon=False,
            borderaxespad=0.1,
        )

    def _line(self, y: float, **style: Any) -> Text:
        return self._figure.text(0.01, y, "", va="top", parse_math=False, **style)

    def draw(self, records: Sequence[Record], path: Path) -> None:
        """Draws the curves of a trial, given all of its records, into a PNG file."""
        links = [record for record in records if isinstance(record, Epochs)]
        names = links[0].history if links else {}
        history = {name: np.concatenate([link.history[name] for link in links]) for name in names}
        first = links[0].first_epoch if links else 1
        self._heading.set_text(_fitted(_name(records), LONGEST_HEADING))
        self._outcome.set_text(f"{_ending(records)}\n{_early_stops(history, first)}")
        score = next((name for name in SCORES if f"val_{name}" in history), "accuracy")
        for metric, title, axes in zip(
            ("loss", score), ("loss", SCORES[score]), self._axes.values(), strict=True
        ):
            axes.set_title(title, fontsize=10, y=1.0, pad=4)
            curves = {split: history.get(f"{split}_{metric}") for split in SPLITS}
            _draw_curves(axes, {s: c for s, c in curves.items() if c is not None}, first)
        self._figure.savefig(path, format="png", pil_kwargs={"compress_level": 4})


def _name(records: Sequence[Record]) -> str:
    return next((record.name for record in records if isinstance(record, TrialStarted)), "")


def _ending(records: Sequence[Record]) -> str:
    ends = [described(record) for record in records if isinstance(record, TrialEnded)]
    return _fitted(ends[-1], LONGEST_LINE) if ends else ""


def _early_stops(history: History, first: int) -> str:
    """Where replicates ended before the others, by early stopping or because they diverged."""
    if "val_loss" not in history:
        return ""
    losses = history["val_loss"]
    ends = [first + int(np.flatnonzero(each)[-1]) for each in ~np.isnan(losses.T) if each.any()]
    early = sorted(end for end in ends if end < first + len(losses) - 1)
    if not early:
        return ""
    text = f"{len(early)} of {losses.shape[1]} replicates ended early, after epoch "
    return _fitted(text + ", ".join(map(str, early)), LONGEST_LINE)


def _fitted(text: str, longest: int) -> str:
    return cut(" ".join(text.split()), longest)


def _draw_curves(axes: Axes, curves: History, first: int) -> None:
    """Means over the replicates, a band of one standard deviation, thin lines if they are few.

    Args:
        curves: (E, R) by split.
        first: the number of the first epoch.
    """
    for artist in [*axes.lines, *axes.collections]:
        artist.remove()
    for split, values in curves.items():
        colour = SPLITS[split][1]
        epochs = np.arange(first, first + len(values))
        mean, sd = mean_and_sd(values)
        marker = "o" if len(values) == 1 else None
        axes.plot(epochs, mean, color=colour, linewidth=1.8, marker=marker, markersize=4)
        axes.fill_between(epochs, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0)
        if 1 < values.shape[1] <= MOST_LINES:
            axes.plot(epochs, values, color=colour, linewidth=0.6, alpha=0.55)
    longest = max((len(values) for values in curves.values()), default=1)
    axes.set_xlim(first - 0.5, first + longest - 0.5)
    _scale(axes, curves)


def _scale(axes: Axes, curves: History) -> None:
    """Fits the vertical axis to the finite values; a loss over many decades is logarithmic."""
    values = np.concatenate([curve.ravel() for curve in curves.values()] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    logarithmic = 0 < low * LOGARITHMIC_FROM < high
    scale = "log" if logarithmic else "linear"
    if axes.get_yscale() != scale:
        axes.set_yscale(scale)
    margin = (high / low) ** 0.05 if logarithmic else 0.05 * (high - low) or 0.05
    axes.set_ylim((low / margin, high * margin) if logarithmic else (low - margin, high + margin))
