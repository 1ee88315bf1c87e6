"""`python -m sweep`: the command line. A mistake of the user's shows no traceback, a bug does."""

import sys

import click

from sweep.commands import advise, check, cluster, enqueue, keep, read, report, run, stop, ui
from sweep.commands.options import INTERRUPTED


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sweep")
def cli() -> None:
    """Hyperparameter sweeps that answer questions about training neural networks.

    A study file states a question and a search space. `run` trains its trials on all cores or on a
    Ray cluster, Optuna chooses them, and MLflow keeps every one.

    \b
    Example:
      python -m sweep run studies/digits.yaml
      python -m sweep show digits
      python -m sweep ui
    """


cli.add_command(run.run)
cli.add_command(run.resume)
cli.add_command(stop.stop)
cli.add_command(enqueue.enqueue)
cli.add_command(cluster.submit)
cli.add_command(cluster.logs)
cli.add_command(read.list_studies)
cli.add_command(read.show)
cli.add_command(read.best)
cli.add_command(report.report)
cli.add_command(advise.advise)
cli.add_command(keep.reproduce)
cli.add_command(check.check)
cli.add_command(check.studies)
cli.add_command(keep.sync)
cli.add_command(keep.delete)
cli.add_command(ui.ui)


def main() -> None:
    """Runs a command and leaves with its exit code; 130 when Ctrl-C came before the sweep did."""
    try:
        sys.exit(cli.main(prog_name="python -m sweep", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
