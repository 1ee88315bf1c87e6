"""`enqueue`: a configuration that a sweep is to try next."""

import shlex
from pathlib import Path

import click

from sweep.commands.options import Mistake, told, workspace_option


@click.command()
@click.argument("name")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    required=True,
    metavar="PARAMETER=VALUE",
    help="A value of a parameter that is searched, e.g. model.dropout=0.2. Repeatable.",
)
@workspace_option
def enqueue(name: str, assignments: tuple[str, ...], folder: str | None) -> None:
    """Let the study NAME try a configuration next; the sampler chooses what is not set.

    A sweep that is running takes it up at once, another one when it is resumed.

    \b
    Example:
      python -m sweep enqueue digits --set model.activation=tanh --set model.dropout=0.2
    """
    from sweep.queue import Queue
    from sweep.spec.contradictions import DESIGNED
    from sweep.spec.places import placed_option
    from sweep.spec.point import read_point
    from sweep.spec.study import check
    from sweep.spec.study_file import load, read_assignment
    from sweep.workspace import workspace

    here = Path.cwd()
    with told():
        target = workspace(folder).existing(name)
        study = check(load(target.file))
        given = dict(map(read_assignment, assignments))
        placed = {name: placed_option(name, option, here) for name, option in given.items()}
        point = read_point(study, placed)
    if study.search.sampler.name in (*DESIGNED, "pbt"):
        raise Mistake(
            f"the sampler {study.search.sampler.name} has a plan that nothing is added to"
        )
    if study.search.reproducible:
        raise Mistake("with search.reproducible nothing but the file says what is tried")
    queue = Queue(target.queue)
    try:
        queue.put(point)
    except OSError as error:
        raise Mistake(f"{target.queue}: cannot be written: {error.strerror}", 1) from None
    click.echo(f"{len(queue)} in the queue of {name}")
    if not target.in_use():
        where = f" --workspace {shlex.quote(folder)}" if folder else ""
        click.echo(f"to try it:  python -m sweep resume {name} --trials +1{where}")
