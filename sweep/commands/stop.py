"""`stop`: ends a sweep that is running, or one of its trials."""

import click

from sweep.commands.cluster import ask, cluster_option
from sweep.commands.options import Mistake, told, workspace_option


@click.command()
@click.argument("name")
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="Stop this trial alone.")
@cluster_option
@workspace_option
def stop(name: str, trial: int | None, address: str | None, folder: str | None) -> None:
    """Stop the running study NAME, as Ctrl-C does: a second time, at once.

    \b
    Example:
      python -m sweep stop digits
      python -m sweep stop digits --trial 17
    """
    if address:
        ask(address, ["stop", name, *([] if trial is None else ["--trial", str(trial)])], folder)
    from sweep.answers.results import read
    from sweep.wishes import Wishes
    from sweep.workspace import workspace

    with told():
        target = workspace(folder).existing(name)
        if not target.in_use():
            raise Mistake(f"study {name!r} is not running")
        states = {} if trial is None else {each.number: each.state for each in read(target).trials}
    if trial is not None and (state := states.get(trial, "not there")) != "running":
        raise Mistake(f"trial {trial} of {name!r} is {state}: only what runs can be stopped")
    try:
        Wishes(target.wishes).stop(trial)
    except OSError as error:
        raise Mistake(f"{target.wishes}: cannot be written: {error.strerror}", 1) from None
    click.echo(f"asked trial {trial} to stop" if trial is not None else "asked the sweep to stop")
