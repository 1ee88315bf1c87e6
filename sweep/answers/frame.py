"""What the pictures of a study have in common, as PNG files and to be played with.

Their colours, sizes, titles and ticks. Whatever comes from a study file is escaped for the latter:
plotly takes some HTML in texts.
"""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis as Ruler
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from sweep.answers.evidence import Evidence, elided
from sweep.recording.projection import cut

COLOURS = {"complete": "#1f77b4", "pruned": "#9a9a9a", "failed": "#d62728"}
OTHERS = "#e08214"
SIDES = ("#1f77b4", "#d95f02")
"""The colours of the two options of a claim."""
MOST_PANELS = 12
"""Of more groups or parameters the first so many are drawn."""
LONGEST_LABEL, LONGEST_TEXT = 22, 40
"""The longest labels of ticks in a PNG file, and texts on a page."""
CROWDED = 5
"""From so many categories on their labels are slanted."""


def colour(state: str) -> str:
    """The colour of trials in a state."""
    return COLOURS.get(state, OTHERS)


def framed(evidence: Evidence, title: str) -> tuple[Figure, Axes]:
    """One panel for a PNG file, with the metric on its vertical axis."""
    figure = Figure((8, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_ylabel(evidence.results.study.metric)
    entitle(figure, title, evidence.results.study.name)
    return figure, axes


def entitle(figure: Figure, title: str, note: str) -> None:
    """Puts a title over all panels, and a note below it."""
    figure.suptitle(f"{title}\n{cut(note, 110)}", fontsize=10, parse_math=False)


def categories(panel: Axes, labels: Sequence[str]) -> None:
    """Labels at 0, 1, … of the horizontal axis, slanted if they would meet."""
    texts = [elided(each, LONGEST_LABEL) for each in labels]
    lettered(panel, texts, 35 if len(texts) >= CROWDED or sum(map(len, texts)) > 30 else 0)
    panel.set_xlim(-0.6, len(texts) - 0.4)


def lettered(panel: Axes, texts: Sequence[str], degrees: int) -> None:
    """Texts at 0, 1, … of the horizontal axis, slanted by so many degrees."""
    panel.set_xticks(
        range(len(texts)),
        texts,
        rotation=degrees,
        ha="right" if degrees else "center",
        rotation_mode="anchor",
        fontsize=8,
    )


def decades(ruler: Ruler, values: NDArray[np.float64]) -> None:
    """Few ticks, as plain numbers, where an axis spans too few decades for powers of ten."""
    low, high = values.min(), values.max()
    if high < 100 * low:
        ticks = np.geomspace(low, high, 4 if high > 1.05 * low else 1)
        ruler.set_ticks(ticks, [f"{each:.2g}" for each in ticks])
        ruler.set_minor_locator(NullLocator())


def text(told: str) -> str:
    """A text for a page, short and escaped."""
    return html.escape(elided(told, LONGEST_TEXT), quote=False)


def laid_out(figure: Any, x: str | None, y: str | None) -> Any:
    """A figure of plotly's in the style of the page, its axes named if there is one panel."""
    margin = {"l": 70, "r": 20, "t": 64, "b": 60}  # above: plotly's toolbar, then titles
    figure.update_layout(template="plotly_white", height=440, margin=margin)
    if x is not None:
        figure.update_xaxes(title_text=x).update_yaxes(title_text=y)
    return figure
