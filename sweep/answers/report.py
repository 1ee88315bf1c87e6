"""The report of a study: its question, its answer and its pictures in one HTML file.

The file is self-contained: it loads nothing, and a browser is told so (`Content-Security-Policy`),
whatever a study file holds. Plotly's script (4.8 MB) is in it once, for all pictures. The same
pictures lie beside it as PNG files.
"""

import html
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sweep.answers import charts, claims_table, plots
from sweep.answers.answer import answer, cost
from sweep.answers.claims import Finding, findings
from sweep.answers.evidence import Evidence, evidence
from sweep.answers.results import Results
from sweep.answers.summary import spread
from sweep.workspace import StudyFolder

SHOWN = 10
"""How many of the best trials are in the table."""

CAPTIONS = {
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
        "Shares of the variance, by fANOVA (Hutter, Hoos and Leyton-Brown 2014): {basis}.",
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
}
"""The title and the caption of each picture."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: .25em .8em; border-bottom: 1px solid #ddd }
th { text-align: left } td.number { text-align: right; white-space: nowrap }
.answer { font-size: 1.1em; background: #f2f7fb; padding: .8em 1.1em; overflow-wrap: anywhere }
figure { margin: 2em 0 } figcaption { color: #555 }
pre { background: #f6f6f6; padding: .8em; overflow-x: auto }
"""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)


@dataclass(frozen=True)
class Report:
    """A report that has been written: its page, and the pictures beside it."""

    page: Path
    pictures: tuple[Path, ...]
    answer: str
    claims: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """The object of `report --json`."""
        return {
            "answer": self.answer,
            "claims": [each.as_json() for each in self.claims],
            "html": str(self.page),
            "pictures": [str(each) for each in self.pictures],
        }


def write(folder: StudyFolder) -> Report:
    """Writes the report of a study into its folder, in the place of an earlier one.

    Raises:
        OSError: the folder can't be written.
    """
    found = evidence(folder)
    draft = folder.report.with_name(".report")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "pictures").mkdir(parents=True)
    names = plots.draw(found, draft / "pictures")
    claims = tuple(findings(found.results))
    (draft / "report.html").write_text(page(found, claims), encoding="utf-8")
    if claims:
        (draft / "claims.md").write_text(claims_table.markdown(claims), encoding="utf-8")
    shutil.rmtree(folder.report, ignore_errors=True)
    draft.rename(folder.report)
    pictures = tuple(folder.report / "pictures" / f"{name}.png" for name in names)
    said = answer(found.results, claims)
    return Report(folder.report / "report.html", pictures, said, claims)


def page(found: Evidence, claims: Sequence[Finding] = ()) -> str:
    """The HTML page."""
    from plotly.offline import get_plotlyjs

    results = found.results
    name, question = html.escape(results.study.name), html.escape(results.study.question)
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>{name}</title><style>{STYLE}</style>",
            f"<script>{get_plotlyjs()}</script></head><body>",
            f"<h1>{name}</h1><p>{question}</p>",
            f'<p class="answer">{html.escape(answer(results, claims))}</p>',
            _claims(claims),
            _best(found),
            *_figures(found),
            _cost(results),
            _repeat(results),
            "</body></html>",
        ]
    )


def _claims(found: Sequence[Finding]) -> str:
    if not found:
        return ""
    table = _table(claims_table.HEAD, claims_table.rows(found), kind="words")
    return f"<h2>Claims</h2>{table}<p>{html.escape(claims_table.note(found))}</p>"


def _figures(found: Evidence) -> Iterable[str]:
    for name, make in charts.CHARTS.items():
        chart = make(found)
        if chart is None:
            continue
        title, caption = CAPTIONS[name]
        drawn = chart.to_html(include_plotlyjs=False, full_html=False, div_id=name)
        words = html.escape(caption.format(basis=found.basis))
        yield f"<h2>{title}</h2><figure>{drawn}<figcaption>{words}</figcaption></figure>"


def _best(found: Evidence) -> str:
    results = found.results
    titles = {axis.name: axis.title for axis in found.axes}
    best = results.ranked()[:SHOWN]
    if not best:
        return ""
    names = list(dict.fromkeys(name for each in best for name in each.params))
    head = ["trial", f"{results.study.metric}, mean ± sd", *(titles[each] for each in names)]
    body = [
        [f"#{each.number}", spread(each.values), *(_value(each.params.get(n)) for n in names)]
        for each in best
    ]
    return f"<h2>Best trials</h2>{_table(head, body)}"


def _table(
    head: Sequence[str], body: Sequence[Sequence[str]], kind: Literal["number", "words"] = "number"
) -> str:
    rows = ["".join(f'<td class="{kind}">{html.escape(cell)}</td>' for cell in row) for row in body]
    heads = "".join(f"<th>{html.escape(each)}</th>" for each in head)
    lines = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div style="overflow-x: auto"><table><tr>{heads}</tr>{lines}</table></div>'


def _value(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cost(results: Results) -> str:
    found = cost(results)
    counts = ", ".join(f"{number} {state}" for state, number in results.counts.items() if number)
    return (
        f"<h2>Cost</h2><p>{counts or 'no trials'}. The workers trained for {found.spent:.1f} s; "
        f"pruning saved {found.saved:.1f} s more.</p>"
    )


def _repeat(results: Results) -> str:
    study = results.study
    lines = [f"python -m sweep run study.yaml --name {study.name}-again"]
    if results.best is not None:
        lines.append(f"python -m sweep reproduce {study.name} {results.best.number}")
    same = (
        "It comes to the same trials: the study is reproducible."
        if study.search.reproducible
        else "Trials of equal configuration come out the same; which ones are tried depends on "
        "the order in which results arrive (`search.reproducible: true` makes it not so)."
    )
    return (
        f"<h2>To repeat it</h2><p>Save the study file below as study.yaml (seed "
        f"{study.search.seed}). {html.escape(same)}</p><pre>{html.escape(chr(10).join(lines))}"
        f"</pre><details open><summary>study.yaml</summary><pre>{html.escape(study.text)}</pre>"
        "</details>"
    )
