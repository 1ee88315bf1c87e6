"""`report`: the answer of a study as a page."""

import click

from sweep.commands.options import Mistake, json_option, print_json, told, workspace_option


@click.command()
@click.argument("name")
@workspace_option
@json_option
def report(name: str, folder: str | None, as_json: bool) -> None:
    """Write the report of the study NAME: question, answer, pictures, cost, how to repeat it.

    One HTML file that needs nothing else, in the study's folder, and the same as Markdown with its
    pictures as PNG files. They are logged on the study's parent run too, where that exists; if
    MLflow can't be reached, a line says so.

    \b
    Example:
      python -m sweep report digits
    """
    from sweep.answers.report import write
    from sweep.workspace import workspace

    with told():
        place = workspace(folder)
        study = place.existing(name)
        try:
            written = write(study)
        except OSError as error:
            raise Mistake(f"the report can't be written: {error}", 1) from None
    from sweep.recording import tracking

    try:
        logged = tracking.log_folder(place.tracking_uri, study.outbox, study.report)
    except tracking.TrackingError as error:
        logged = False
        click.echo(f"MLflow has not got the report: {error}", err=True)
    if as_json:
        print_json(written.as_json() | {"logged": logged})
    else:
        click.echo(written.answer)
        click.echo(f"report:  {written.page}")
