"""The report of a study: its question, its answer and its pictures, as HTML and as Markdown.

The HTML file is self-contained: it loads nothing, and a browser is told so
(`Content-Security-Policy`), whatever a study file holds. Plotly's script (4.8 MB) is in it once,
for all pictures. The same pictures lie beside it as PNG files, which the Markdown file shows.
"""

import html
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.answers import charts, claims_table, diagnoses, plots, shifts
from sweep.answers.answer import answer, cost
from sweep.answers.claims import Finding, findings
from sweep.answers.document import (
    Block,
    Code,
    Heading,
    Picture,
    Table,
    Words,
    to_html,
    to_markdown,
)
from sweep.answers.evidence import Evidence, evidence
from sweep.answers.look import ADAPTIVE
from sweep.answers.results import Results
from sweep.answers.summary import spread
from sweep.spec.claims import shown
from sweep.workspace import StudyFolder

SHOWN = 10
"""How many of the best trials are in the table."""

CAPTIONS = {
    "compared_groups": (
        "The groups that claims compare",
        "Each line: the mean over the complete trials with that option (how many in brackets), "
        "blue for the first that the claim names; the band: ± one standard deviation over "
        "replicates. Claims are judged by differences within replicates, which vary less.",
    ),
    "pareto_front": (
        "Pareto front",
        "Complete trials; no other is better than one of the front in one objective and no worse "
        "in the rest.",
    ),
    "optimisation_history": (
        "Optimisation history",
        "Every trial's last value; a pruned trial's is that of the rung at which it ended.",
    ),
    "intermediate_values": ("Values by rung", "Each line is a trial."),
    "parameter_importances": (
        "Parameter importances",
        "Shares of the variance, by fANOVA (Hutter, Hoos and Leyton-Brown 2014): {basis}. The "
        "whiskers hold the middle 95 % of the trees, each of which is fitted to trials drawn anew. "
        "What is missing to 1 is what settings do together, and noise.",
    ),
    "slices": ("One parameter at a time", "{basis}."),
    "contours": ("Two numbers at a time", "{basis}; linear between the trials."),
    "interactions": (
        "Two settings at a time",
        "{basis}. Each cell: the mean, half of its 95 % interval over trials (Student's t), and "
        "how many trials. Ranges are cut into bins of equal width. The sampler chose the trials, "
        "so a cell with few of them says little.",
    ),
    "confusion_matrix": (
        "What the winner confuses",
        "Validation rows, all replicates added up.",
    ),
    "predicted_vs_observed": (
        "Predicted against observed",
        "What the winner predicts of the validation rows, each of its replicates by itself, in the "
        "unit of the target; on the dashed line both are equal. R²: the mean ± one standard "
        "deviation over replicates, on all rows.",
    ),
}
"""The title and the caption of each picture."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em }
.wide { overflow-x: auto } table { border-collapse: collapse }
td, th { padding: .25em .6em; border-bottom: 1px solid #ddd }
th { text-align: left; vertical-align: bottom } td.number, td.value { text-align: right }
td.number, td.figure { white-space: nowrap } td.words:last-child { min-width: 12em }
.answer { font-size: 1.1em; background: #f2f7fb; padding: .8em 1.1em; overflow-wrap: anywhere }
figure { margin: 2em 0; overflow-x: auto } figcaption { color: #555 }
pre { background: #f6f6f6; padding: .8em; overflow-x: auto }
"""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)


@dataclass(frozen=True)
class Report:
    """A report that has been written: its page, its text, and the pictures beside them."""

    page: Path
    text: Path
    pictures: tuple[Path, ...]
    answer: str
    claims: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """The object of `report --json`."""
        return {
            "answer": self.answer,
            "claims": [each.as_json() for each in self.claims],
            "html": str(self.page),
            "markdown": str(self.text),
            "pictures": [str(each) for each in self.pictures],
        }


def write(folder: StudyFolder) -> Report:
    """Writes the report of a study into its folder, in the place of an earlier one.

    Raises:
        OSError: the folder can't be written.
    """
    found = evidence(folder)
    claims = tuple(findings(found.results))
    draft = folder.report.with_name(".report")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "pictures").mkdir(parents=True)
    names = plots.draw(found, draft / "pictures")
    blocks = document(found, claims)
    (draft / "report.html").write_text(page(found.results.study.name, blocks), encoding="utf-8")
    (draft / "report.md").write_text(to_markdown(blocks, names), encoding="utf-8")
    shutil.rmtree(folder.report, ignore_errors=True)
    draft.rename(folder.report)
    return Report(
        page=folder.report / "report.html",
        text=folder.report / "report.md",
        pictures=tuple(folder.report / "pictures" / f"{name}.png" for name in names),
        answer=answer(found.results, claims),
        claims=claims,
    )


def page(title: str, blocks: Sequence[Block]) -> str:
    """The HTML page that holds a document."""
    from plotly.offline import get_plotlyjs

    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>{html.escape(title)}</title><style>{STYLE}</style>",
            f"<script>{get_plotlyjs()}</script></head><body>",
            to_html(blocks),
            "</body></html>",
        ]
    )


def document(found: Evidence, claims: Sequence[Finding] = ()) -> list[Block]:
    """The report: what was asked, what was found, what it rests on, what it took."""
    results = found.results
    pictures = dict(_pictures(found))
    compared = pictures.pop("compared_groups", [])
    return [
        Heading(results.study.name, 1),
        *([Words(results.study.question)] if results.study.question else []),
        Words(answer(results, claims), answer=True),
        *_claims(claims),
        *compared,
        *_diagnosis(results),
        *_shifts(found),
        *_best(found),
        *(block for blocks in pictures.values() for block in blocks),
        *_cost(results),
        *_repeat(results),
    ]


def _claims(found: Sequence[Finding]) -> Iterator[Block]:
    if found:
        yield Heading("Claims")
        yield Table(claims_table.HEAD, claims_table.rows(found), words=True)
        yield Words(claims_table.note(found))


def _pictures(found: Evidence) -> Iterator[tuple[str, list[Block]]]:
    for name, make in charts.CHARTS.items():
        chart = make(found)
        if chart is None:
            continue
        title, caption = CAPTIONS[name]
        drawn = chart.to_html(include_plotlyjs=False, full_html=False, div_id=name)
        yield name, [Heading(title), Picture(name, caption.format(basis=found.basis), drawn)]


def _diagnosis(results: Results) -> Iterator[Block]:
    found = diagnoses.groups(results)
    if not found:
        return
    yield Heading("Diagnosis by group")
    ill = diagnoses.table(found)
    if ill is None:
        yield Words("No trial of any group fell ill.")
        return
    yield Table(*ill, words=True)
    yield Words(
        "How many trials with each option fell ill with what, in the last epoch that they trained; "
        "in brackets the hidden layers that did in any of them, counted from the input."
    )


def _shifts(found: Evidence) -> Iterator[Block]:
    if not found.shifts:
        return
    yield Heading("Variance shift")
    yield Table(*shifts.table(found.shifts, {axis.name: axis.title for axis in found.axes}))
    yield Words(
        "The variance of what enters each batch norm in prediction over that in training, where "
        "units drop right before it, after the last epoch: measured / by the formula "
        "v ÷ (q·(c² + v) − c²). There c and v are the mean and the variance in prediction, and q "
        "is 1 ÷ the share of units that are kept, or 1 + β² ÷ 3 for Uout. The formula does not "
        "know of statistics that are found anew with dropout off (reestimate), which mend it."
    )


def _best(found: Evidence) -> Iterator[Block]:
    results = found.results
    titles = {axis.name: axis.title for axis in found.axes}
    metrics = [each.name for each in results.study.objectives]
    best = (results.front() if len(metrics) > 1 else results.ranked())[:SHOWN]
    if not best:
        return
    names = list(dict.fromkeys(name for each in best for name in each.params))
    head = ["trial", *(f"{each}, mean ± sd" for each in metrics), *(titles[each] for each in names)]
    body = [
        [
            f"#{each.number}",
            spread(each.values),
            *(spread(each.metrics.get(metric, [])) for metric in metrics[1:]),
            *(_value(each.params[name]) if name in each.params else "–" for name in names),
        ]
        for each in best
    ]
    yield Heading("Best trials" if len(metrics) == 1 else "Trials on the Pareto front")
    yield Table(head, body)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shown(value)


def _cost(results: Results) -> Iterator[Block]:
    found = cost(results)
    counts = ", ".join(f"{number} {state}" for state, number in results.counts.items() if number)
    yield Heading("Cost")
    beside = max(0.0, found.spent - found.epochs)
    yield Words(
        f"{counts or 'no trials'}. The workers were at work for {found.spent:.1f} s: "
        f"{found.epochs:.1f} s in epochs, {beside:.1f} s beside them (pretraining, taking states "
        f"up and giving them back). Pruning saved {found.saved:.1f} s."
    )


def _repeat(results: Results) -> Iterator[Block]:
    study = results.study
    lines = [f"python -m sweep run study.yaml --name {study.name}-again"]
    if results.best is not None:
        lines.append(f"python -m sweep reproduce {study.name} {results.best.number}")
    chosen = study.search.sampler.name in ADAPTIVE or study.search.pruner.name != "none"
    same = (
        "It comes to the same trials."
        if study.search.reproducible or not chosen
        else "Trials of equal configuration come out the same; which ones are tried depends on "
        "the order in which results arrive (`search.reproducible: true` makes it not so)."
    )
    yield Heading("To repeat it")
    yield Words(f"Save the study file below as study.yaml (seed {study.search.seed}). {same}")
    yield Code("\n".join(lines))
    yield Words("study.yaml:")
    yield Code(study.text)
