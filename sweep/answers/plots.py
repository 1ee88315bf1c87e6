"""The pictures of a study as PNG files: which there are; see `charts` for interactive ones.

`trial_plots` draws trials over time, `parameter_plots` their value over parameters, `pareto` that
of several objectives; `frame` has what they have in common.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweep.answers import pareto
from sweep.answers.evidence import Evidence
from sweep.answers.parameter_plots import (
    contours,
    interaction_maps,
    parameter_importances,
    slices,
)
from sweep.answers.trial_plots import compared_groups, intermediate_values, optimisation_history
from sweep.answers.validation import MOST_CLASSES
from sweep.recording.confusion_matrix import matrix
from sweep.recording.predicted_vs_observed import scattered
from sweep.recording.records import Confusion, Predictions


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


def confusion_matrix(evidence: Evidence) -> Figure | None:
    """What the winner takes each class for, on validation rows."""
    found = evidence.validation
    if not isinstance(found, Confusion) or len(found.classes) > MOST_CLASSES:
        return None
    return matrix(found, f"winner #{found.trial}")


def predicted_vs_observed(evidence: Evidence) -> Figure | None:
    """What the winner predicts where what was observed, on validation rows."""
    found = evidence.validation
    if not isinstance(found, Predictions):
        return None
    return scattered(found, f"winner #{found.trial}")


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
    "predicted_vs_observed": predicted_vs_observed,
}
"""Every picture by the name of its file."""
