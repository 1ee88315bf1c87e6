"""What the commands share: the workspace option, and how mistakes are told."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click

from sweep.workspace import StorageUnavailable, StudyInUse, UnknownStudy
from trainer.rules import ConfigError

USAGE, IN_USE, INTERRUPTED = 2, 3, 130
"""Exit codes; 0 is done, 1 a sweep in which no trial completed."""

Command = TypeVar("Command", bound=Callable[..., Any])


def workspace_option(command: Command) -> Command:
    """Adds `--workspace`."""
    return click.option(
        "--workspace",
        "folder",
        metavar="DIR",
        help="Where sweeps are kept; else $SWEEP_WORKSPACE, else ./results.",
    )(command)


def json_option(command: Command) -> Command:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def code_option(command: Command) -> Command:
    """Adds `--allow-code`."""
    return click.option(
        "--allow-code",
        multiple=True,
        metavar="MODULE",
        help="Import and run this module where data.source or trainer names it. Repeatable.",
    )(command)


class Mistake(click.ClickException):
    """A mistake of the user's, told in a line or more."""

    def __init__(self, message: str, exit_code: int = USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """Prints the message as it is."""
        click.echo(self.format_message(), err=True, file=file)


@contextmanager
def told() -> Iterator[None]:
    """Turns what the user can mend into a message and an exit code."""
    try:
        yield
    except (ConfigError, UnknownStudy) as error:
        raise Mistake(str(error.args[0] if isinstance(error, UnknownStudy) else error)) from None
    except StudyInUse as error:
        raise Mistake(str(error), IN_USE) from None
    except StorageUnavailable as error:
        raise Mistake(str(error), 1) from None


def print_json(value: Any) -> None:
    """Prints a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def leave(code: int) -> NoReturn:
    """Ends the command with an exit code."""
    raise click.exceptions.Exit(code)
