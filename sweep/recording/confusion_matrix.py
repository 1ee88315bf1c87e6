"""Confusion matrices: what each class is taken for, as a PNG file."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweep.recording.projection import cut
from sweep.recording.records import Confusion

LONGEST_CLASS, LONGEST_NOTE = 12, 110


def draw(record: Confusion, path: Path) -> None:
    """Draws what a trial confuses into a PNG file."""
    figure = matrix(record, f"#{record.trial}")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)


def matrix(record: Confusion, whose: str) -> Figure:
    """The picture; each row is coloured by its shares."""
    table = np.array(record.counts, dtype=np.float64)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = max(4.2, 1.4 + 0.52 * len(table))
    figure = Figure((side, side), layout="constrained")
    panel = figure.subplots()
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [cut(str(each), LONGEST_CLASS) for each in record.classes]
    slanted = max(map(len, labels)) > 3
    panel.set_xticks(range(len(table)), labels, fontsize=8, rotation=35 if slanted else 0)
    panel.set_yticks(range(len(table)), labels, fontsize=8)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    for row, column in np.ndindex(table.shape):
        if table[row, column]:
            tint = "white" if shares[row, column] > 0.5 else "black"
            text = f"{table[row, column]:.0f}"
            panel.text(column, row, text, ha="center", va="center", fontsize=8, color=tint)
    note = f"{whose}, validation rows, {record.replicates} replicates added up"
    title = f"Confusion matrix\n{cut(note, LONGEST_NOTE)}"
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure
