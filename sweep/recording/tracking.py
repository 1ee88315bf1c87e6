"""The MLflow store: opened, checked, and with the experiment of a study in it.

Neither the driver nor a worker imports this file: importing mlflow alone takes seconds.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from sweep.recording.outbox import Outbox

EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Makes the UI show its pages for training."""

LONGEST_SOURCE, LONGEST_DIGEST = 500, 36
"""How many characters MLflow takes of a dataset's name and of its digest."""

POSTGRESQL = "postgresql"
EXPERIMENTS = sqlalchemy.text("SELECT count(*) FROM experiments")

PASSING = frozenset({401, 403, 408, 429, 499})
"""Client errors that go away when somebody does something about them, or with time."""


class TrackingError(Exception):
    """The store can't be used as it is; the message says what to do."""


def connect(tracking_uri: str) -> MlflowClient:
    """A client of the store, which is made if it is an empty or missing database.

    Raises:
        TrackingError: the database has another version's schema, or can't be reached.
    """
    # A request that is sent again inside the client could make a run twice, unseen by the sender.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with _alone(tracking_uri):
        if (path := _file(tracking_uri)) is not None and _is_empty(path):
            _make(path)
        if "://" in tracking_uri and not tracking_uri.startswith(("http:", "https:")):
            check_schema(tracking_uri)
        if not sqlalchemy.event.contains(sqlalchemy.Engine, "connect", _tune_sqlite):
            sqlalchemy.event.listen(sqlalchemy.Engine, "connect", _tune_sqlite)
        return MlflowClient(tracking_uri)


@contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """Keeps two processes from making the tables of one SQLite file at the same time."""
    if (path := _file(tracking_uri)) is None:
        yield
        return
    with Path(f"{path}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _file(tracking_uri: str) -> Path | None:
    """The file of an SQLite database, if the URI names one."""
    kind, _, path = tracking_uri.partition(":///")
    return Path(path) if kind == "sqlite" and path and "?" not in path else None


def _is_empty(path: Path) -> bool:
    """Whether a database has no tables; it need not be there."""
    if not path.exists():
        return True
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(path)) as database:
        return not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return False


def _make(path: Path) -> None:
    """Makes MLflow's tables beside the file, and copies them into it in one transaction.

    MLflow takes a second, and can do nothing with a database whose making was cut off.
    """
    part = path.with_name(f"{path.name}.part")
    made = (part, *(part.with_name(f"{part.name}-{end}") for end in ("wal", "shm")))
    for each in made:  # what was cut off
        each.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{part}").search_experiments()
    with closing(sqlite3.connect(part)) as draft, closing(sqlite3.connect(path)) as database:
        draft.backup(database)
    for each in made:
        each.unlink(missing_ok=True)


def check_schema(database_uri: str) -> None:
    """Makes sure that this version of MLflow can use a database as it is, or that it is empty.

    MLflow itself would upgrade a database that lacks some tables, silently. In PostgreSQL it
    goes on with tables whose making was cut off: they are empty, in a version without a number.

    Raises:
        TrackingError: it can't, or can't be reached.
    """
    try:
        engine = sqlalchemy.create_engine(database_uri)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        raise TrackingError(f"the MLflow database can't be opened: {error}") from error
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            tables = sqlalchemy.inspect(connection).get_table_names()
            begun = found is None and "experiments" in tables
            if begun and engine.dialect.name == POSTGRESQL and not connection.scalar(EXPERIMENTS):
                return
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise TrackingError(f"the MLflow database can't be opened: {error}") from error
    finally:
        engine.dispose()
    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations"
    wanted = ScriptDirectory(str(migrations)).get_current_head()
    if tables and found != wanted:
        raise TrackingError(
            f"the MLflow database was made by another version of MLflow (schema {found}, "
            f"this version {mlflow.__version__} has {wanted}). Back it up, then upgrade it with: "
            f"mlflow db upgrade {engine.url.render_as_string()}"
        )


def _tune_sqlite(connection: Any, _: object) -> None:
    """Lets the UI read while runs are written, and saves two thirds of the time of a write."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")


def experiment(client: MlflowClient, name: str, artifact_root: str | None) -> str:
    """The id of the experiment `name`: found, brought back if it was deleted, or made.

    Args:
        artifact_root: the URI of the folder for artifacts; None leaves it to the server.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        location = None if artifact_root is None else f"{artifact_root}/{quote(name)}"
        try:
            return str(client.create_experiment(name, location, EXPERIMENT_KIND))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)  # another driver may have been first
            if found is None:
                raise error from None
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def log_dataset(client: MlflowClient, run_id: str, source: str, digest: str) -> None:
    """Says in a run what data it is about. Doing so again changes nothing."""
    data = Dataset(source[:LONGEST_SOURCE], digest[:LONGEST_DIGEST], "local", source)
    client.log_inputs(run_id, [DatasetInput(data, [])])


def discard(client: MlflowClient, experiment_id: str, run_ids: Iterable[str]) -> None:
    """Deletes runs; their experiment too, and frees its name, when no other run is left in it.

    Raises:
        TrackingError: the store does not work.
    """
    try:
        for run_id in run_ids:
            client.delete_run(run_id)
        if not client.search_runs([experiment_id], max_results=1):
            name = client.get_experiment(experiment_id).name
            client.rename_experiment(experiment_id, f"{name} (deleted {experiment_id})")
            client.delete_experiment(experiment_id)
    except MlflowException as error:
        raise TrackingError(f"MLflow: {error.message}") from error


def runs_with(
    client: MlflowClient, experiment_id: str, tags: dict[str, str], since_ms: int = 0
) -> list[Any]:
    """The runs that carry all of these tags and started at `since_ms` or later, deleted or not."""
    conditions = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
    conditions.append(f"attributes.start_time >= {since_ms}")
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            " AND ".join(conditions),
            ViewType.ALL,
            max_results=1000,
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            return runs


def upload(tracking_uri: str, artifact_uri: str, folder: Path) -> None:
    """Copies the files of a folder to the root of the artifacts of a run.

    As `MlflowClient.log_artifacts`, which first reads the whole run to learn the address.
    """
    get_artifact_repository(artifact_uri, tracking_uri).log_artifacts(str(folder))


def log_folder(tracking_uri: str, outbox: Path, folder: Path) -> bool:
    """Copies a folder's files to the parent run of a study; False where it has none.

    Args:
        outbox: the study's outbox, which knows the run.

    Raises:
        TrackingError: the store does not work, or the study was recorded in another.
    """
    with closing(Outbox(outbox, reading=True)) as known:
        run, elsewhere = known.runs().get(None), not known.aims_at(tracking_uri)
    if run is None:
        return False
    if elsewhere:
        raise TrackingError("the study was recorded elsewhere; set MLFLOW_TRACKING_URI to it")
    try:
        connect(tracking_uri)
        upload(tracking_uri, run.artifact_uri, folder)
    except (MlflowException, OSError) as error:
        raise TrackingError(str(error)) from error
    return True


def is_refusal(error: Exception) -> bool:
    """Whether the store will give the same answer however often it is asked."""
    if not isinstance(error, MlflowException):
        return isinstance(error, TypeError | LookupError | AttributeError)  # a bug, here or there
    status = error.get_http_status_code()
    return 400 <= status < 500 and status not in PASSING
