"""`run` and `resume`: train a study's trials."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweep.commands.cluster import reached, started
from sweep.commands.options import (
    INTERRUPTED,
    Mistake,
    code_option,
    json_option,
    leave,
    print_json,
    told,
    workspace_option,
)

if TYPE_CHECKING:
    from sweep.driver import Finished


@click.command()
@click.argument("study", required=False, type=click.Path(path_type=Path))
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a field of the study file, e.g. training.epochs=9. Repeatable.",
)
@click.option("--trials", type=int, help="How many trials to end with.")
@click.option("--timeout", type=float, metavar="S", help="Start no trial after so many seconds.")
@click.option("--name", help="A name other than the study file's.")
@click.option("--address", metavar="ADDRESS", help="A Ray cluster; else $RAY_ADDRESS, else here.")
@code_option
@workspace_option
@json_option
def run(
    study: Path | None,
    assignments: tuple[str, ...],
    trials: int | None,
    timeout: float | None,
    name: str | None,
    address: str | None,
    allow_code: tuple[str, ...],
    folder: str | None,
    as_json: bool,
) -> None:
    """Run STUDY (by default studies/digits.yaml), or go on with it.

    \b
    Example:
      python -m sweep run studies/digits.yaml --trials 30 --set search.seed=1 --name digits-1
    """
    from sweep import driver

    with _told():
        finished = driver.run(
            study or driver.DEFAULT_STUDY,
            assignments=assignments,
            name=name,
            trials=trials,
            timeout=timeout,
            address=address,
            allow_code=allow_code,
            folder=folder,
            quiet=as_json,
        )
    _tell(finished, folder, as_json)


@click.command()
@click.argument("name")
@click.option("--trials", metavar="N|+N", help="How many trials to end with, or how many more.")
@click.option(
    "--decide",
    is_flag=True,
    help="Double the replicates while claims are open: at most three looks at them in all.",
)
@click.option(
    "--address",
    metavar="ADDRESS",
    help="A Ray cluster; else $RAY_ADDRESS, else here. http(s)://… makes it a job on the head.",
)
@code_option
@workspace_option
@json_option
def resume(
    name: str,
    trials: str | None,
    decide: bool,
    address: str | None,
    allow_code: tuple[str, ...],
    folder: str | None,
    as_json: bool,
) -> None:
    """Go on with the study NAME where it was interrupted, or extend it.

    \b
    Example:
      python -m sweep resume digits --trials +50
    """
    if address and address.startswith(("http:", "https:")):
        options = [*(["--trials", trials] if trials else []), *["--decide"] * decide]
        options += [f"--allow-code={each}" for each in allow_code]
        with reached(address) as cluster:
            started(cluster.resume(name, options, folder), name, address, as_json=as_json)
        return
    from sweep import driver

    with _told():
        finished = driver.resume(
            name,
            trials=trials,
            decide=decide,
            address=address,
            allow_code=allow_code,
            folder=folder,
            quiet=as_json,
        )
    _tell(finished, folder, as_json)


@contextmanager
def _told() -> Iterator[None]:
    """As `told`, and says why there is no Ray."""
    from sweep.scheduling.ray_runner import RayUnavailable

    with told():
        try:
            yield
        except RayUnavailable as error:
            raise Mistake(str(error)) from None


def _tell(finished: "Finished", folder: str | None, as_json: bool) -> None:
    from sweep.answers.summary import summary

    results = finished.results
    if as_json:
        print_json(results.full())
    else:
        summary(results, finished.seconds, folder)
    ending = finished.ending
    if ending.left:
        why = f" ({ending.trouble})" if ending.trouble else ""
        where = f" --workspace {shlex.quote(folder)}" if folder else ""
        click.echo(
            f"MLflow has not got {ending.left} records{why}; they are kept. "
            f"Send them with: python -m sweep sync {results.study.name}{where}",
            err=True,
        )
    for reason in ending.refused:
        click.echo(f"MLflow has refused records, which are set aside: {reason}", err=True)
    if finished.interrupted:
        leave(INTERRUPTED)
    failed = [each for each in results.trials if each.state == "failed"]
    why = f"; trial {failed[-1].number} failed: {failed[-1].reason}" if failed else ""
    if ending.failure:
        raise Mistake(f"gave up: {ending.failure}{why}", 1)
    if results.best is None:
        raise Mistake(f"no trial completed{why}", 1)
