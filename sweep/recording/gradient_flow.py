"""Gradient flow: layer by layer, the gradients and the activations over epochs, as a PNG file.

Like the learning curves, all pictures are drawn on one figure that is kept.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sweep.recording.projection import mean_and_sd
from sweep.recording.records import Epochs, Record, TrialStarted

PANELS = {
    "gradient_norm": "norm of the gradient",
    "mean": "mean of the activations",
    "variance": "variance of the activations",
}
"""The figures of `trainer.health` that are drawn, with their titles."""
LOGARITHMIC_FROM = 10
"""The ratio of the largest to the smallest norm or variance from which its axis is logarithmic."""
COLOURS = colormaps["viridis"]
MOST_NAMED = 8
"""Up to so many layers have a line each in the legend; of more, the first and the last."""

Series = NDArray[np.float64]


class FlowPainter:
    """Draws gradient flow, one trial after another."""

    def __init__(self) -> None:
        self._figure = Figure((8, 3.4), 100)
        FigureCanvasAgg(self._figure)
        axes = self._figure.subplots(1, len(PANELS))
        self._axes: dict[str, Axes] = dict(zip(PANELS, axes, strict=True))
        self._figure.subplots_adjust(left=0.075, right=0.985, bottom=0.13, top=0.74, wspace=0.27)
        self._heading = self._figure.text(
            0.01, 0.975, "", va="top", parse_math=False, fontsize=11, weight="bold"
        )
        for figure, each in self._axes.items():
            each.set_title(PANELS[figure], fontsize=10, y=1.0, pad=4)
            each.set_xlabel("epoch", labelpad=1)
            each.grid(alpha=0.25, linewidth=0.6)
            each.tick_params(labelsize=8)
            each.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))

    def draw(self, records: Sequence[Record], path: Path) -> bool:
        """Draws a trial, given all of its records, into a PNG file.

        Returns:
            Whether there was something to draw: on a GPU no such figures are taken.
        """
        links = [record for record in records if isinstance(record, Epochs)]
        found = {figure: by_layer(links, figure) for figure in PANELS}
        layers = sorted({layer for lines in found.values() for layer in lines})
        if not layers:
            return False
        started = [record for record in records if isinstance(record, TrialStarted)]
        name = started[0].name if started else ""
        self._heading.set_text(f"{name[:60]}: gradient flow, mean of the replicates")
        colours = dict(zip(layers, COLOURS(np.linspace(0, 0.9, len(layers))), strict=True))
        for figure, axes in self._axes.items():
            _draw_lines(axes, found[figure], links[0].first_epoch, colours)
            axes.set_yscale("log" if _over_decades(found[figure]) else "linear")
            axes.relim()
            axes.autoscale_view()
        self._name_layers(layers)
        self._figure.savefig(path, format="png", pil_kwargs={"compress_level": 4})
        return True

    def _name_layers(self, layers: Sequence[int]) -> None:
        lines = self._axes["gradient_norm"].lines
        named = lines if len(layers) <= MOST_NAMED else [lines[0], lines[-1]]
        for legend in list(self._figure.legends):
            legend.remove()
        self._figure.legend(
            handles=named,
            loc="upper left",
            bbox_to_anchor=(0.0, 0.915),
            ncols=MOST_NAMED,
            fontsize=8,
            frameon=False,
            handlelength=1.2,
            columnspacing=1.2,
        )


def _draw_lines(
    axes: Axes, lines: Mapping[int, Series], first: int, colours: Mapping[int, Series]
) -> None:
    for line in list(axes.lines):
        line.remove()
    for layer, values in lines.items():
        epochs = np.arange(first, first + len(values))
        marker = "o" if len(values) == 1 else None
        axes.plot(epochs, values, color=colours[layer], label=f"layer {layer}", marker=marker, ms=4)


def _over_decades(lines: Mapping[int, Series]) -> bool:
    """Whether all values are above 0, and over a decade apart; a zero has no logarithm."""
    values = np.concatenate([*lines.values(), np.zeros(0)])
    values = values[np.isfinite(values)]
    return bool(len(values)) and 0 < LOGARITHMIC_FROM * values.min() < values.max()


def by_layer(links: Sequence[Epochs], figure: str) -> Mapping[int, Series]:
    """The means over the replicates, (E,) by layer; NaN in epochs that have none."""
    pattern = re.compile(rf"health/{figure}_(\d+)")
    names = {
        int(found[1]): name
        for link in links
        for name in link.history
        if (found := pattern.fullmatch(name))
    }
    counts = [link.last_epoch - link.first_epoch + 1 for link in links]
    series = {}
    for layer, name in sorted(names.items()):
        values = np.full(sum(counts), np.nan)
        at = 0
        for link, count in zip(links, counts, strict=True):
            if name in link.history:
                values[at : at + count] = mean_and_sd(link.history[name])[0]
            at += count
        series[layer] = values
    return series
