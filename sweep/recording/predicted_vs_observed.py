"""Predicted against observed numbers: how far a regression is off, and where, as a PNG file."""

from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweep.recording.projection import cut
from sweep.recording.records import Predictions

LONGEST_TARGET, LONGEST_NOTE = 40, 110
EQUAL = "#444444"
"""The colour of the line on which both are equal."""
MARGIN = 0.04
"""Of what the points span, beside them."""


class Panel(NamedTuple):
    """One target: its points, its R² in words, and the limits that both axes have."""

    target: str
    observed: list[float]
    predicted: list[float]
    r2: str
    limits: tuple[float, float]


def draw(record: Predictions, path: Path) -> None:
    """Draws what a trial predicts into a PNG file."""
    figure = scattered(record, f"#{record.trial}")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)


def scattered(record: Predictions, whose: str) -> Figure:
    """The picture: a panel a target, on whose diagonal both are equal."""
    found = list(panels(record))
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    side = 4.8 if len(found) == 1 else 3.8
    figure = Figure((side * columns, side * rows + 0.5), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, each in zip(places, found, strict=False):
        place.scatter(
            each.observed,
            each.predicted,
            s=16,
            color="#1f77b4",
            alpha=opacity(len(each.observed)),
            linewidth=0,
        )
        place.plot(each.limits, each.limits, color=EQUAL, linewidth=1, linestyle="--", zorder=3)
        place.set(xlim=each.limits, ylim=each.limits, aspect="equal")
        place.set(xlabel="observed", ylabel="predicted")
        name = cut(each.target, LONGEST_TARGET)
        place.set_title(f"{name}\n{each.r2}", fontsize=9, parse_math=False)
        place.grid(alpha=0.25, linewidth=0.6)
        for ruler in (place.xaxis, place.yaxis):
            ruler.set_major_locator(MaxNLocator(5))
    for place in places[len(found) :]:
        place.set_visible(False)
    title = f"Predicted against observed\n{cut(about(record, whose), LONGEST_NOTE)}"
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def panels(record: Predictions) -> Iterator[Panel]:
    """What is drawn of each target."""
    parts = zip(record.targets, record.observed, record.predicted, record.r2, strict=True)
    for target, observed, predicted, r2 in parts:
        low, high = min(*observed, *predicted), max(*observed, *predicted)
        beside = MARGIN * (high - low)
        limits = low - beside, high + beside
        spread = f" ± {stdev(r2):.3f}" if len(r2) > 1 else ""
        yield Panel(target, [*observed], [*predicted], f"R² {fmean(r2):.3f}{spread}", limits)


def about(record: Predictions, whose: str) -> str:
    """Whose points they are, and how many of how many."""
    points, replicates = len(record.observed[0]), len(record.r2[0])
    some = "" if points == record.rows else f"{points} of "
    more = len(record.targets) < record.outputs
    first = f"the first {len(record.targets)} of {record.outputs} targets, " if more else ""
    many = f"{replicates} replicate{'s' * (replicates != 1)}"
    return f"{whose}, {first}validation rows of {many}: {some}{record.rows} points"


def opacity(points: int) -> float:
    """How opaque a point is: where many lie over each other it must show."""
    return min(0.8, 10 / sqrt(points))
