"""`ui`: the MLflow UI on a workspace."""

import click

from sweep.commands.options import Mistake, told, workspace_option


@click.command()
@click.argument("name", required=False)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=5000,
    show_default=True,
    help="The port on this machine.",
)
@workspace_option
def ui(name: str | None, port: int, folder: str | None) -> None:
    """Open the MLflow UI on this workspace (Ctrl-C ends it).

    \b
    Example:
      python -m sweep ui digits --port 5001
    """
    from sweep import ui as server
    from sweep.workspace import workspace

    with told():
        try:
            server.serve(workspace(folder), name, port, click.echo)
        except server.UiError as error:
            raise Mistake(str(error)) from None
