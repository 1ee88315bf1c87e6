"""The pictures of a study to be played with, for a page that has plotly's script once for all.

They show what the PNG files of `plots` show, from the same numbers. Whatever comes from a study
file is escaped: plotly takes some HTML in texts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sweep.answers import pareto
from sweep.answers.comparisons import Group
from sweep.answers.evidence import Axis, Evidence, Trial, short
from sweep.answers.frame import MOST_PANELS, SIDES, colour, laid_out, text
from sweep.answers.importance import importances
from sweep.answers.interactions import interactions
from sweep.answers.parameter_plots import cell, numeric_surfaces
from sweep.answers.trial_plots import best_so_far, course
from sweep.answers.validation_charts import confusion_matrix, predicted_vs_observed

MOST_TICKS = 12


def compared_groups(evidence: Evidence) -> Any:
    """The learning curves of the groups that claims compare."""
    found = evidence.comparisons[:MOST_PANELS]
    if not found:
        return None
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    names = [axis.name for axis in evidence.axes]
    fields = [", ".join(short(name, names) for name in each.claim.fields) for each in found]
    titles = [
        "<br>".join([text(each.claim.name), text(field), *map(_coloured, each.groups, SIDES)])
        for each, field in zip(found, fields, strict=True)
    ]
    figure = make_subplots(rows, columns, subplot_titles=titles, vertical_spacing=0.3 / rows)
    figure.update_annotations(font_size=11)
    for index, each in enumerate(found):
        place = {"row": index // columns + 1, "col": index % columns + 1}
        for group, shade in zip(each.groups, SIDES, strict=True):
            epochs = list(range(1, len(group.mean) + 1))
            told = f"{text(fields[index])} {text(group.label)} ({group.trials} trials)"
            spread = np.nan_to_num(group.sd)
            figure.add_scatter(
                x=[*epochs, *reversed(epochs)],
                y=[*(group.mean + spread), *reversed(group.mean - spread)],
                fill="toself",
                fillcolor=shade,
                opacity=0.2,
                mode="lines",
                line={"width": 0},
                hoverinfo="skip",
                **place,
            )
            figure.add_scatter(
                x=epochs,
                y=group.mean,
                mode="lines" if len(epochs) > 1 else "markers",
                line={"color": shade},
                customdata=group.sd,
                hovertemplate=f"{told}<br>after %{{x}} epochs: %{{y:.4g}} ± %{{customdata:.2g}}"
                "<extra></extra>",
                **place,
            )
        figure.update_yaxes(title_text=each.claim.by, **place)
    figure.update_xaxes(title_text="epoch", row=rows)
    laid_out(figure, None, None).update_layout(height=330 * rows + 130, showlegend=False)
    return figure.update_layout(margin_t=120)  # titles stand below the buttons


def _coloured(group: Group, shade: str) -> str:
    return f'<span style="color: {shade}">{text(group.label)} ({group.trials})</span>'


def optimisation_history(evidence: Evidence) -> Any:
    """Values over trial numbers, and the best so far."""
    valued = [each for each in evidence.trials if each.value is not None]
    if not valued:
        return None
    figure = go.Figure()
    for state in dict.fromkeys(each.state for each in valued):
        mine = [each for each in valued if each.state == state]
        figure.add_scatter(
            x=[each.number for each in mine],
            y=[each.value for each in mine],
            error_y={"array": [each.sd or 0.0 for each in mine], "thickness": 1}
            if state == "complete"
            else None,
            mode="markers",
            marker={"color": colour(state), "size": 8 if state == "complete" else 5},
            name=state,
            text=[told(each) for each in mine],
            hovertemplate="%{text}<extra></extra>",
        )
    numbers, best = best_so_far(evidence)
    line = {"shape": "hv", "color": "#d95f02"}
    figure.add_scatter(x=numbers, y=best, mode="lines", line=line, name="best so far")
    return laid_out(figure, "trial", evidence.results.study.metric)


def intermediate_values(evidence: Evidence) -> Any:
    """The values of every trial by rung; None where all trials ended at one."""
    rungs = sorted({epoch for trial in evidence.trials for epoch in course(trial)[0]})
    if len(rungs) < 2:
        return None
    figure = go.Figure()
    for trial in evidence.trials:
        epochs, values = course(trial)
        if epochs:
            figure.add_scatter(
                x=epochs,
                y=values,
                mode="lines+markers",
                line={"color": colour(trial.state), "width": 1},
                opacity=0.9 if trial.state == "complete" else 0.5,
                name=f"#{trial.number}",
                text=[told(trial)] * len(epochs),
                hovertemplate="%{text}<br>after %{x} epochs: %{y:.4g}<extra></extra>",
                showlegend=False,
            )
    laid_out(figure, "epochs completed", evidence.results.study.metric)
    ticks = {"tickvals": rungs} if len(rungs) <= MOST_TICKS else {}
    return figure.update_xaxes(type="log", **ticks)


def parameter_importances(evidence: Evidence) -> Any:
    """The share of each parameter."""
    shares = importances(evidence)
    if not shares:
        return None
    titles = {axis.name: text(axis.title) for axis in evidence.axes}
    names = [titles[name] for name in shares]
    means = [each.mean for each in shares.values()]
    reach = {
        "array": [each.high - each.mean for each in shares.values()],
        "arrayminus": [each.mean - each.low for each in shares.values()],
    }
    figure = go.Figure(go.Bar(x=means, y=names, orientation="h", error_x=reach))
    laid_out(figure, "share of the variance (fANOVA)", "")
    return figure.update_yaxes(autorange="reversed").update_layout(height=140 + 30 * len(names))


def slices(evidence: Evidence) -> Any:
    """The value over each parameter by itself."""
    trials = evidence.compared
    axes = [axis for axis in evidence.axes if any(axis.name in each.params for each in trials)]
    axes = axes[:MOST_PANELS]
    if not axes:
        return None
    columns = min(3, len(axes))
    rows = -(-len(axes) // columns)
    titles = [text(axis.title) for axis in axes]
    figure = make_subplots(rows, columns, shared_yaxes=True, subplot_titles=titles)
    for index, axis in enumerate(axes):
        mine = [each for each in trials if axis.name in each.params]
        place = {"row": index // columns + 1, "col": index % columns + 1}
        figure.add_scatter(
            x=[_shown(axis, each.params[axis.name]) for each in mine],
            y=[each.common for each in mine],
            mode="markers",
            marker={"color": "#1f77b4", "size": 6, "opacity": 0.7},
            text=[told(each) for each in mine],
            hovertemplate="%{text}<extra></extra>",
            **place,
        )
        kind = "category" if axis.labels else "log" if axis.log else "linear"
        figure.update_xaxes(type=kind, **place)
    figure.update_yaxes(title_text=evidence.results.study.metric, col=1)
    return laid_out(figure, None, None).update_layout(height=300 * rows + 60, showlegend=False)


def contours(evidence: Evidence) -> Any:
    """The value over pairs of numeric parameters."""
    surfaces = numeric_surfaces(evidence)
    if not surfaces:
        return None
    figure = make_subplots(1, len(surfaces), horizontal_spacing=0.09)
    heights = np.concatenate([each.values for each in surfaces])
    for column, each in enumerate(surfaces, 1):
        figure.add_contour(
            x=each.grid_x,
            y=each.grid_y,
            z=each.height,
            coloraxis="coloraxis",
            hoverinfo="skip",
            row=1,
            col=column,
        )
        figure.add_scatter(
            x=each.x,
            y=each.y,
            mode="markers",
            marker={"color": "white", "size": 6, "line": {"color": "black", "width": 1}},
            customdata=each.values,
            hovertemplate="%{x:.4g}, %{y:.4g}: %{customdata:.4g}<extra></extra>",
            row=1,
            col=column,
        )
        place = {"row": 1, "col": column}
        first, second = each.axes
        kinds = ["log" if axis.log else "linear" for axis in each.axes]
        figure.update_xaxes(type=kinds[0], title_text=text(first.title), **place)
        figure.update_yaxes(type=kinds[1], title_text=text(second.title), **place)
    scale = {"colorscale": "Viridis", "cmin": heights.min(), "cmax": heights.max()}
    return laid_out(figure, None, None).update_layout(showlegend=False, coloraxis=scale)


def interaction_maps(evidence: Evidence) -> Any:
    """Heat maps of pairs of settings."""
    tables = interactions(evidence)
    if not tables:
        return None
    columns = min(2, len(tables))
    rows = -(-len(tables) // columns)
    figure = make_subplots(rows, columns, horizontal_spacing=0.14, vertical_spacing=0.28 / rows)
    for index, table in enumerate(tables):
        place = {"row": index // columns + 1, "col": index % columns + 1}
        indices = np.ndindex(table.mean.shape)
        words = np.array([cell(table, *each).replace("\n", "<br>") for each in indices])
        figure.add_heatmap(
            x=[text(each) for each in table.columns],
            y=[text(each) for each in table.rows],
            z=table.mean,
            text=words.reshape(table.mean.shape),
            texttemplate="%{text}",
            hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
            coloraxis="coloraxis",
            **place,
        )
        figure.update_xaxes(type="category", title_text=text(table.column), **place)
        figure.update_yaxes(
            type="category", title_text=text(table.row), autorange="reversed", **place
        )
    scale = {"colorscale": "Viridis"}
    return laid_out(figure, None, None).update_layout(height=400 * rows + 80, coloraxis=scale)


def told(trial: Trial) -> str:
    """A trial in a few lines, for a label that appears over its point."""
    value = "no value" if trial.value is None else f"{trial.value:.4g}"
    spread = "" if trial.sd is None else f" ± {trial.sd:.2g}"
    lines = [f"#{trial.number} {trial.state}, {trial.epoch} epochs: {value}{spread}"]
    for name, given in trial.params.items():
        shown = f"{given:.4g}" if isinstance(given, float) else str(given)
        lines.append(text(f"{name} = {shown}"))
    return "<br>".join(lines)


def _shown(axis: Axis, value: Any) -> Any:
    return text(axis.labels[int(axis.place(value))]) if axis.labels else value


CHARTS: Mapping[str, Callable[[Evidence], Any]] = {
    "compared_groups": compared_groups,
    "pareto_front": pareto.chart,
    "optimisation_history": optimisation_history,
    "intermediate_values": intermediate_values,
    "parameter_importances": parameter_importances,
    "slices": slices,
    "contours": contours,
    "interactions": interaction_maps,
    "confusion_matrix": confusion_matrix,
    "predicted_vs_observed": predicted_vs_observed,
}
"""Every chart by the name of its picture."""
