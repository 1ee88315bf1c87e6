"""`reproduce`, `sync` and `delete`: what is done with a study after its sweep."""

import sqlite3
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import click

from sweep.commands.options import (
    IN_USE,
    Mistake,
    code_option,
    json_option,
    leave,
    print_json,
    told,
    workspace_option,
)

if TYPE_CHECKING:
    from sweep.scheduling.folders import Folder
    from sweep.workspace import StudyFolder, Workspace


@click.command()
@click.argument("name")
@click.argument("trial", type=click.IntRange(min=0))
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Also nudge weights of each layer and tell how much the validation loss changes.",
)
@code_option
@workspace_option
@json_option
def reproduce(
    name: str,
    trial: int,
    sensitivity: bool,
    allow_code: tuple[str, ...],
    folder: str | None,
    as_json: bool,
) -> None:
    """Train trial TRIAL of NAME again and say whether the result is bit-identical.

    Exits 1 when it differs although the same arithmetic (BLAS library and kernel, threads, NumPy)
    did both.

    \b
    Example:
      python -m sweep reproduce digits 17
    """
    from dataclasses import asdict

    from sweep.answers import reproduction
    from sweep.answers.results import read
    from sweep.datasets import Datasets
    from sweep.workspace import workspace

    with told():
        place = workspace(folder)
        results = read(place.existing(name))
        datasets = Datasets(results.study, place.tracking_uri, allow_code)
    try:
        found = reproduction.reproduce(results, trial, datasets, sensitivity=sensitivity)
    except reproduction.NotReproducible as error:
        raise Mistake(str(error)) from None
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(str(found))
    if found.comparable and not found.identical:
        leave(1)


@click.command()
@click.argument("name", required=False)
@workspace_option
def sync(name: str | None, folder: str | None) -> None:
    """Send MLflow what the outbox of NAME, or of every study, still holds.

    \b
    Example:
      python -m sweep sync
    """
    from sweep.recording.outbox import Outbox
    from sweep.recording.recording import Recording
    from sweep.workspace import workspace

    with told():
        place = workspace(folder)
        folders = [place.existing(name)] if name else place.studies()
    left = 0
    for each in folders:
        if each.in_use() or not each.outbox.exists():
            continue  # a driver sends its own
        with closing(Outbox(each.outbox, reading=True)) as outbox:
            before = outbox.backlog()
            for reason in outbox.reasons():
                click.echo(f"{each.name}: refused, and set aside: {reason}")
        if before.empty:
            continue
        try:
            with closing(Outbox(each.outbox)) as outbox:
                recording = Recording(outbox, each.path, place.tracking_uri, place.artifact_root)
                after = recording.drain(600, lambda backlog: None)
        except (OSError, sqlite3.OperationalError) as error:
            raise Mistake(f"{each.path}: cannot be written: {error}", 1) from None
        sent = before.records - after.records
        why = f": {recording.trouble}" if not after.empty and recording.trouble else ""
        click.echo(f"{each.name}: sent {sent} records, {after.records} left{why}")
        left += after.records + after.pictures
    if left:
        leave(1)


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@workspace_option
def delete(name: str, yes: bool, folder: str | None) -> None:
    """Delete the study NAME: its folder, and its runs in MLflow.

    MLflow keeps deleted runs until `mlflow gc` removes them.

    \b
    Example:
      python -m sweep delete digits
    """
    from sweep.search.storage import held
    from sweep.workspace import workspace

    with told():
        place = workspace(folder)
        study = place.existing(name)
    if study.in_use():
        raise Mistake(f"study {name!r} is in use; stop it first", IN_USE)
    if not yes:
        click.confirm(f"Delete study {name!r} in {study.path} and its runs in MLflow?", abort=True)
    where = study.storage
    with told(), study.held(), held(where, name) if isinstance(where, str) else nullcontext():
        _delete(study, place)
    click.echo(f"deleted {name}")


def _delete(study: "StudyFolder", place: "Workspace") -> None:
    """Removes a study that is held; what can be wrong is found first."""
    from sweep.recording.outbox import Outbox
    from sweep.search.storage import discard

    states = _states(study)
    with closing(Outbox(study.outbox, reading=True)) as outbox:
        experiment, runs = outbox.fact("experiment_id"), outbox.run_ids()
        elsewhere = bool(runs) and not outbox.aims_at(place.tracking_uri)
        store = outbox.fact("tracking_uri")
    if elsewhere:
        raise Mistake(
            f"study {study.name!r} was recorded elsewhere: set MLFLOW_TRACKING_URI to {store}"
        )
    if experiment is not None:
        from sweep.recording import tracking

        try:
            client = tracking.connect(place.tracking_uri)
            tracking.discard(client, experiment, runs.values())
        except tracking.TrackingError as error:
            raise Mistake(str(error)) from None
    if states is not None:
        try:
            states.discard()
        except OSError as error:
            raise Mistake(f"storage: its states can't be removed: {error}") from None
    if isinstance(study.storage, str):
        discard(study.storage, study.name)
    study.discard()


def _states(study: "StudyFolder") -> "Folder | None":
    """Where the states of its trials are, if that is not in the study's folder.

    The rest of its study file may have mistakes, such as a model that is gone.
    """
    from sweep.scheduling.folders import folder, kept_as
    from sweep.search.storage import IDENTITY, Storage
    from sweep.spec.study_file import load

    storage = load(study.file).get("storage")
    if not isinstance(storage, str):
        return None
    try:
        identity = Storage(study.storage, study.name).notes().get(IDENTITY)
    except FileNotFoundError:  # it was stored and never run
        return None
    return None if identity is None else folder(storage, kept_as(study.name, identity))
