"""What the winner says of the validation rows, to be played with; see `charts`."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sweep.answers.evidence import Evidence
from sweep.answers.frame import laid_out, text
from sweep.answers.validation import MOST_CLASSES
from sweep.recording.predicted_vs_observed import EQUAL, about, opacity, panels
from sweep.recording.records import Confusion, Predictions

SIDE = 350
"""Of a panel of points, in pixels; one that stands alone is half as large again."""


def confusion_matrix(evidence: Evidence) -> Any:
    """What the winner takes each class for."""
    found = evidence.validation
    if not isinstance(found, Confusion):
        return None
    names = [text(str(each)) for each in found.classes]
    heat = go.Heatmap(x=names, y=names, z=found.counts, colorscale="Blues")
    heat.texttemplate = "%{z}" if len(names) <= MOST_CLASSES else None
    figure = laid_out(go.Figure(heat), "predicted", "true")
    figure.update_xaxes(type="category").update_yaxes(type="category", autorange="reversed")
    return figure.update_layout(height=560, width=640)


def predicted_vs_observed(evidence: Evidence) -> Any:
    """What the winner predicts where what was observed."""
    found = evidence.validation
    if not isinstance(found, Predictions):
        return None
    drawn = list(panels(found))
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    titles = [f"{text(each.target)}<br>{each.r2}" for each in drawn]
    gap = {"vertical_spacing": 0.3 / rows, "horizontal_spacing": 0.22 / columns}
    figure = make_subplots(rows, columns, subplot_titles=titles, **gap)
    figure.update_annotations(font_size=12)
    for index, each in enumerate(drawn):
        place = {"row": index // columns + 1, "col": index % columns + 1}
        figure.add_scatter(
            x=each.observed,
            y=each.predicted,
            mode="markers",
            marker={"color": "#1f77b4", "size": 6, "opacity": opacity(len(each.observed))},
            hovertemplate="observed %{x}, predicted %{y}<extra></extra>",
            **place,
        )
        figure.add_scatter(
            x=each.limits,
            y=each.limits,
            mode="lines",
            line={"color": EQUAL, "width": 1, "dash": "dash"},
            hoverinfo="skip",
            **place,
        )
        figure.update_xaxes(title_text="observed", range=each.limits, nticks=6, **place)
        figure.update_yaxes(title_text="predicted", range=each.limits, nticks=6, **place)
    laid_out(figure, None, None)
    side = SIDE if len(drawn) > 1 else 1.5 * SIDE
    note = {"text": about(found, f"winner #{found.trial}"), "font_size": 13}
    size = {"width": side * columns, "height": side * rows + 110}
    return figure.update_layout(**size, showlegend=False, margin_t=110, title=note)
