"""`advise`: the study to run next."""

import click

from sweep.commands.options import Mistake, told, workspace_option


@click.command()
@click.argument("name")
@workspace_option
def advise(name: str, folder: str | None) -> None:
    """Print the study to run after NAME, with the reasons as comments.

    Ranges are moved or narrowed to where the best trials lie, options that did not do well are left
    out, and what ails the best trials is met with a field to search.

    \b
    Example:
      python -m sweep advise digits > next.yaml
    """
    from sweep.answers.advice import advise as advice
    from sweep.answers.results import read
    from sweep.workspace import workspace

    with told():
        results = read(workspace(folder).existing(name))
    try:
        click.echo(advice(results), nl=False)
    except ValueError as error:
        raise Mistake(str(error), 1) from None
