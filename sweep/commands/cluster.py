"""`submit` and `logs`, and how other commands are passed on to a cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sweep.commands.options import Mistake, json_option, leave, print_json, told

if TYPE_CHECKING:
    from sweep.cluster import Cluster

JOBS = "http://127.0.0.1:8265"
"""Where `ray dashboard` ends its tunnel."""

Command = TypeVar("Command", bound=Callable[..., Any])


def cluster_option(command: Command) -> Command:
    """Adds `--address`, for commands that may run on a cluster's head."""
    return click.option(
        "--address", metavar="URL", help=f"Ask a cluster through its Ray Jobs, e.g. {JOBS}."
    )(command)


@click.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a field of the study file, e.g. training.epochs=9. Repeatable.",
)
@click.option("--address", metavar="URL", default=JOBS, show_default=True, help="Its Ray Jobs.")
@click.option("--workspace", "folder", metavar="DIR", help="On the head; else its ~/results.")
@json_option
def submit(
    study: Path,
    assignments: tuple[str, ...],
    address: str,
    folder: str | None,
    as_json: bool,
) -> None:
    """Run STUDY on a cluster: its driver becomes a job on the head, and this command returns.

    Data and models to start from travel if their path is relative (up to 90 MiB in all); others
    must be at their path on the head.

    \b
    Example:
      python -m sweep submit studies/digits.yaml --address http://127.0.0.1:8265
    """
    from sweep.spec.places import opened
    from sweep.spec.study import check
    from sweep.spec.study_file import load, override

    with reached(address) as cluster:
        written = check(override(load(study), list(assignments)))
        here = check(opened(study, assignments))
        job = cluster.submit(written, here, folder)
    started(job, written.name, address, as_json=as_json)


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--address", metavar="URL", default=JOBS, show_default=True, help="Its Ray Jobs.")
def logs(name: str, follow: bool, address: str) -> None:
    """Print what the driver of the study NAME has printed on the cluster.

    \b
    Example:
      python -m sweep logs -f digits
    """
    with reached(address) as cluster:
        whole = cluster.logs(name, lambda text: click.echo(text, nl=False), follow=follow)
    if not whole:
        leave(1)


def started(job: str, name: str, address: str, *, as_json: bool) -> None:
    """Says which job was started, and how to watch it."""
    if as_json:
        print_json({"job": job, "name": name, "address": address})
        return
    click.echo(f"job:   {job}")
    click.echo(f"watch: python -m sweep logs -f {name} --address {address}")


def ask(address: str, arguments: Sequence[str], folder: str | None) -> None:
    """Runs a command on the head, prints what it printed, and leaves with its exit code."""
    with reached(address) as cluster:
        answer = cluster.ask(arguments, folder)
    click.echo(answer.output, nl=False, err=answer.code != 0)
    leave(answer.code)


@contextmanager
def reached(address: str) -> "Iterator[Cluster]":
    """The cluster; what the user can mend is told."""
    from requests import ConnectionError as Unreachable

    from sweep.cluster import Cluster, ClusterError

    with told():
        try:
            yield Cluster(address)
        except ClusterError as error:
            raise Mistake(str(error)) from None
        except Unreachable as error:  # the tunnel has gone since
            raise Mistake(f"the cluster at {address} can't be reached: {error}") from None
