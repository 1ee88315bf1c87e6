"""What a person sees at the end of a sweep, and of `show` and `list`."""

import shlex
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweep.answers import claims_table
from sweep.answers.claims import Finding, findings
from sweep.answers.results import Results, TrialResult
from sweep.figures import SCORES, figure, with_error
from sweep.recording.outbox import Backlog

SHOWN = 5
"""How many of the best trials are shown."""

WIDE, NARROW = 21, 10
"""The columns of objectives with their frame, and as wide as they are where room is short."""

ROOM = 40
"""What the configuration of a trial needs beside them."""


def spread(values: list[float | None]) -> str:
    """Mean ± standard deviation (ddof = 1) of the replicates."""
    known = [each for each in values if each is not None]
    if not known:
        return "–"
    mean = sum(known) / len(known)
    if len(known) < 2:
        return figure(mean)
    sd = (sum((each - mean) ** 2 for each in known) / (len(known) - 1)) ** 0.5
    return with_error(mean, sd)


def summary(results: Results, seconds: float | None, folder: str | None) -> None:
    """Prints a study: its counts, its best trials, how the winner did on the test split."""
    console = Console(highlight=False)
    study = results.study
    counts = ", ".join(f"{number} {state}" for state, number in results.counts.items() if number)
    took = f" in {seconds:.0f} s" if seconds is not None else ""
    console.print(f"[bold]{study.name}[/]: {results.state}{took} – {counts or 'no trials yet'}")
    if infeasible := sum(bool(each.violated) for each in results.trials):
        bounds = ", ".join(map(str, study.constraints))
        console.print(f"{infeasible} infeasible: {bounds}", markup=False)
    if study.question:
        console.print(study.question, markup=False)
    several = len(study.objectives) > 1
    best = results.front() if several else results.ranked()[:SHOWN]
    if best:
        console.print(_table(results, best, console.width))
        if best[0].diagnosis:
            text = f"diagnosis of #{best[0].number}: {'; '.join(best[0].diagnosis)}"
            console.print(text, markup=False)
    found = findings(results)
    if found:
        console.print(_claims(found))
        console.print(claims_table.note(found), markup=False)
    test = results.test
    if test is not None and results.best is not None:
        console.print(
            f"test {SCORES[study.score]} of the winner (#{results.best.number}): "
            f"{spread(test['values'])} over {len(test['values'])} replicates"
        )
    where = f" --workspace {shlex.quote(folder)}" if folder else ""
    if results.state == "interrupted":
        console.print(
            f"go on: python -m sweep resume {study.name}{where}", markup=False, soft_wrap=True
        )
    console.print(f"more:  python -m sweep show {study.name}{where}", markup=False, soft_wrap=True)
    console.print(f"       python -m sweep ui {study.name}{where}", markup=False, soft_wrap=True)


def _table(results: Results, trials: list[TrialResult], width: int) -> Table:
    metrics = [each.name for each in results.study.objectives]
    title = "Pareto front" if len(metrics) > 1 else f"best trials by {metrics[0]}"
    table = Table(title=title, title_justify="left")
    table.add_column("trial", justify="right")
    most = NARROW if width - WIDE * len(metrics) < ROOM else None
    for metric in metrics:
        head = metric.replace("_", "_\n") if len(metrics) > 1 else "mean ± sd"
        table.add_column(head, justify="right", max_width=most, overflow="fold")
    table.add_column("configuration", overflow="fold")
    for each in trials:
        scores = [spread(each.values), *(spread(each.metrics[name]) for name in metrics[1:])]
        table.add_row(f"#{each.number}", *scores, escape(_settings(each.params)))
    return table


def _claims(found: list[Finding]) -> Table:
    table = Table(title="claims", title_justify="left")
    for column in claims_table.HEAD:
        table.add_column(column, overflow="fold")
    for row in claims_table.rows(found):
        table.add_row(*map(escape, row))
    return table


def _settings(params: dict[str, Any]) -> str:
    names = (name.partition(".")[2] for name in params)
    values = (f"{each:.3g}" if isinstance(each, float) else str(each) for each in params.values())
    return "  ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))


def listing(entries: list[dict[str, Any]]) -> None:
    """Prints the studies of a workspace."""
    table = Table()
    for column in ("study", "state", "trials", "best", "not in MLflow"):
        table.add_column(column)
    for each in entries:
        counts = ", ".join(
            f"{number} {state}" for state, number in each["trials"].items() if number
        )
        if isinstance(each["best"], list):
            found = f"{len(each['best'])} on the Pareto front of {', '.join(each['metrics'])}"
        else:
            found = (
                f"{each['metric']} {figure(each['value'])}" if each["value"] is not None else "–"
            )
        unrecorded = str(Backlog(**each["unrecorded"])) if each["unrecorded"] else "–"
        table.add_row(escape(each["name"]), each["state"], counts or "–", found, unrecorded)
    Console(highlight=False).print(table)
