"""What a person sees at the end of a sweep, and of `show` and `list`."""

import shlex
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweep.answers import claims_table
from sweep.answers.claims import Finding, findings
from sweep.answers.results import Results, TrialResult

SHOWN = 5
"""How many of the best trials are shown."""


def spread(values: list[float | None]) -> str:
    """Mean ± standard deviation (ddof = 1) of the replicates."""
    known = [each for each in values if each is not None]
    if not known:
        return "–"
    mean = sum(known) / len(known)
    if len(known) < 2:
        return f"{mean:.4f}"
    sd = (sum((each - mean) ** 2 for each in known) / (len(known) - 1)) ** 0.5
    return f"{mean:.4f} ± {sd:.4f}"


def summary(results: Results, seconds: float | None, folder: str | None) -> None:
    """Prints a study: its counts, its best trials, the winner's test accuracy, where to look."""
    console = Console(highlight=False)
    study = results.study
    counts = ", ".join(f"{number} {state}" for state, number in results.counts.items() if number)
    took = f" in {seconds:.0f} s" if seconds is not None else ""
    console.print(f"[bold]{study.name}[/]: {results.state}{took} – {counts or 'no trials yet'}")
    if study.question:
        console.print(study.question, markup=False)
    best = results.ranked()[:SHOWN]
    if best:
        console.print(_table(results, best))
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
            f"test accuracy of the winner (#{results.best.number}): "
            f"{spread(test['values'])} over {len(test['values'])} replicates"
        )
    where = f" --workspace {shlex.quote(folder)}" if folder else ""
    console.print(f"more:  python -m sweep show {study.name}{where}", markup=False, soft_wrap=True)
    console.print(f"       python -m sweep ui {study.name}{where}", markup=False, soft_wrap=True)


def _table(results: Results, trials: list[TrialResult]) -> Table:
    table = Table(title=f"best trials by {results.study.metric}", title_justify="left")
    table.add_column("trial", justify="right")
    table.add_column("mean ± sd", justify="right")
    table.add_column("configuration")
    for each in trials:
        table.add_row(f"#{each.number}", spread(each.values), _settings(each.params))
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
    for column in ("study", "state", "trials", "best"):
        table.add_column(column)
    for each in entries:
        counts = ", ".join(
            f"{number} {state}" for state, number in each["trials"].items() if number
        )
        found = f"{each['metric']} {each['value']:.4f}" if each["value"] is not None else "–"
        table.add_row(each["name"], each["state"], counts or "–", found)
    Console(highlight=False).print(table)
