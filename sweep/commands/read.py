"""`list`, `show` and `best`: what studies have found."""

import csv
import io
from pathlib import Path
from typing import Any

import click

from sweep.commands.cluster import ask, cluster_option
from sweep.commands.options import Mistake, json_option, print_json, told, workspace_option


@click.command(name="list")
@cluster_option
@workspace_option
@json_option
def list_studies(address: str | None, folder: str | None, as_json: bool) -> None:
    """List the studies in the workspace.

    \b
    Example:
      python -m sweep list --json
    """
    if address:
        ask(address, ["list", *["--json"] * as_json], folder)
    from sweep.answers.results import read
    from sweep.answers.summary import listing
    from sweep.workspace import workspace

    with told():
        place = workspace(folder)
    entries = []
    for each in place.studies():
        try:
            entries.append(read(each).summary())
        except Exception as error:  # whatever is wrong with one, the others are listed
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            click.echo(f"{each.name} can't be read: {reason}", err=True)
            entries.append(_unreadable(each.name, reason))
    if as_json:
        print_json(entries)
    elif entries:
        listing(entries)
    else:
        click.echo(f"no studies in {place.path}")


@click.command()
@click.argument("name")
@click.option("--csv", "as_csv", is_flag=True, help="Print the trials as a table in CSV.")
@cluster_option
@workspace_option
@json_option
def show(name: str, as_csv: bool, address: str | None, folder: str | None, as_json: bool) -> None:
    """Show the study NAME: its state, its counts, its best trials.

    \b
    Example:
      python -m sweep show digits --csv > trials.csv
    """
    if address:
        flags = [*["--csv"] * as_csv, *["--json"] * as_json]
        ask(address, ["show", name, *flags], folder)
    results = _results(name, folder)
    if as_json:
        from sweep.answers.claims import findings

        print_json(results.full() | {"claims": [each.as_json() for each in findings(results)]})
    elif as_csv:
        click.echo(_csv(results), nl=False)
    else:
        from sweep.answers.summary import summary

        summary(results, None, folder)


@click.command()
@click.argument("name")
@click.option("--export", "target", type=click.Path(path_type=Path), metavar="DIR")
@workspace_option
@json_option
def best(name: str, target: Path | None, folder: str | None, as_json: bool) -> None:
    """Print the winning configuration of NAME; --export writes its model to a folder.

    \b
    Example:
      python -m sweep best digits --export model/
    """
    from sweep.figures import figure
    from sweep.spec.study_file import dump
    from sweep.workspace import workspace

    results = _results(name, folder)
    winner = results.best
    if winner is None:
        raise Mistake(f"no trial of {name!r} has completed", 1)
    config = results.study.config(winner.params)
    if target is not None:
        from sweep.answers.export import export

        with told():
            export(results, workspace(folder).existing(name), target)
    if as_json:
        print_json({"trial": winner.number, "value": winner.value, "config": config})
    else:
        click.echo(f"# trial {winner.number}: {results.study.metric} {figure(winner.value)}")
        click.echo(dump(config), nl=False)
        if target is not None:
            click.echo(f"# exported to {target}")


def _unreadable(name: str, reason: str) -> dict[str, Any]:
    """The entry of a study whose folder holds what can't be read."""
    nothing: dict[str, Any] = dict.fromkeys(("question", "metric", "best", "value", "unrecorded"))
    return {"name": name, "state": "unreadable", "reason": reason, "trials": {}} | nothing


def _results(name: str, folder: str | None) -> Any:
    from sweep.answers.results import read
    from sweep.workspace import workspace

    with told():
        return read(workspace(folder).existing(name))


def _csv(results: Any) -> str:
    metrics = [each.name for each in results.study.objectives]
    trials = [_cells(each, metrics) for each in results.full()["trials"]]
    names = list(dict.fromkeys(key for each in trials for key in each["params"]))
    nested = ("params", "values", "metrics", "environment")
    plain = [key for key in (trials[0] if trials else {}) if key not in nested]
    count = max((len(each["values"]) for each in trials), default=0)
    columns = [f"value_{index}" for index in range(count)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*plain, *names, *columns])
    for each in trials:
        values = [*each["values"], *[None] * (count - len(each["values"]))]
        params = [each["params"].get(key) for key in names]
        writer.writerow([*(each[key] for key in plain), *params, *values])
    return text.getvalue()


def _cells(trial: dict[str, Any], metrics: list[str]) -> dict[str, Any]:
    """A trial as a line of a table has it: lists as text, each of several objectives by itself."""
    cells = trial | {name: "; ".join(trial[name]) for name in ("diagnosis", "violated")}
    if len(metrics) > 1:
        found = cells.pop("value") or [None] * len(metrics)
        cells |= dict(zip(metrics, found, strict=True))
    return cells
