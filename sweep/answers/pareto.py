"""The Pareto front as a picture: the leading objective over each of the others."""

import html
from typing import Any

from matplotlib.figure import Figure

from sweep.answers.evidence import Evidence
from sweep.answers.frame import laid_out
from sweep.answers.results import TrialResult

WIDE = 10
"""The largest value over the smallest from which on a scale is logarithmic."""

FRONT, BEHIND = "#d95f02", "#9ecae1"


def painted(evidence: Evidence) -> Figure | None:
    """The front for a PNG file; None with one objective."""
    metrics, front, behind = _parts(evidence)
    if not front or len(metrics) < 2:
        return None
    figure = Figure(figsize=(4.6 * (len(metrics) - 1) + 1.4, 4.2), layout="constrained")
    panels = figure.subplots(1, len(metrics) - 1, squeeze=False, sharey=True)[0]
    for place, panel in enumerate(panels, 1):
        x, y = _points(behind, place)
        panel.scatter(x, y, color=BEHIND, s=22, label="dominated, or infeasible")
        x, y = _points(sorted(front, key=lambda each: each.scores[place] or 0.0), place)
        line = "o-" if len(panels) == 1 else "o"  # with three objectives it is no line
        panel.plot(x, y, line, color=FRONT, linewidth=1, markersize=6, label="Pareto front")
        for each in front:
            at = (each.scores[place] or 0.0, each.scores[0] or 0.0)
            panel.annotate(f"#{each.number}", at, (4, 4), textcoords="offset points", fontsize=7)
        panel.set_xlabel(metrics[place])
        if _wide([*front, *behind], place):
            panel.set_xscale("log")
        panel.margins(x=0.08, y=0.08)
    panels[0].set_ylabel(metrics[0])
    panels[0].legend(fontsize=8)
    figure.suptitle("Pareto front", fontsize=11)
    return figure


def chart(evidence: Evidence) -> Any:
    """The front to be played with; None with one objective."""
    from plotly.subplots import make_subplots

    metrics, front, behind = _parts(evidence)
    if not front or len(metrics) < 2:
        return None
    figure = make_subplots(1, len(metrics) - 1, shared_yaxes=True)
    for place in range(1, len(metrics)):
        for name, trials, colour in (("others", behind, BEHIND), ("front", front, FRONT)):
            x, y = _points(trials, place)
            figure.add_scatter(
                x=x,
                y=y,
                mode="markers",
                marker={"color": colour, "size": 9},
                name=name,
                showlegend=place == 1,
                text=[_told(each, metrics) for each in trials],
                hovertemplate="%{text}<extra></extra>",
                row=1,
                col=place,
            )
        kind = "log" if _wide([*front, *behind], place) else "linear"
        figure.update_xaxes(title_text=metrics[place], type=kind, col=place)
    figure.update_yaxes(title_text=metrics[0], col=1)
    return laid_out(figure, None, None)


def _parts(evidence: Evidence) -> tuple[list[str], list[TrialResult], list[TrialResult]]:
    """The metrics, the trials of the front, and the other complete ones."""
    results = evidence.results
    metrics = [each.name for each in results.study.objectives]
    front = results.front()
    known = {each.number for each in front}
    behind = [
        each
        for each in results.trials
        if each.number not in known and each.scores and None not in each.scores
    ]
    return metrics, front, behind


def _points(trials: list[TrialResult], place: int) -> tuple[list[float], list[float]]:
    return [each.scores[place] or 0.0 for each in trials], [
        each.scores[0] or 0.0 for each in trials
    ]


def _wide(trials: list[TrialResult], place: int) -> bool:
    """Whether values lie so far apart that a scale must be logarithmic."""
    values, _ = _points(trials, place)
    return min(values) > 0 and max(values) > WIDE * min(values)


def _told(trial: TrialResult, metrics: list[str]) -> str:
    scores = (f"{name} {score:.4g}" for name, score in zip(metrics, trial.scores, strict=True))
    params = (f"{name} {value}" for name, value in trial.params.items())
    lines = [f"#{trial.number}", *scores, *params, *trial.violated]
    return "<br>".join(html.escape(line, quote=False) for line in lines)
