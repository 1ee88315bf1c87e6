"""Params and points written into the tables of MLflow: the rows that its own `log_batch` writes."""

import math
from collections.abc import Iterator

import pytest
import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from sweep.recording import tracking
from sweep.recording.projection import Point
from sweep.recording.run_tables import RunTables
from tests.integration.mlflow_server import empty_store
from tests.integration.postgres import postgres

PARAMS = {"model.activation": "elu", "π": "", "long": "x" * 6000}
BATCHES = (
    [Point("loss", 1 / step, 1000 + step, step) for step in range(1, 400)],
    [Point("loss", 0.1, 900, 12), Point("late", 1.0, 5, 3), Point("late", 2.0, 5, 3)],
    [Point("late", 0.5, 6, 2), Point("late", 1.5, 4, 3), Point("loss", 0.0, 2000, 399)],
    [Point("nan", math.nan, 1, 1), Point("nan", math.nan, 1, 1), Point("nan", -1.0, 1, 1)],
    [Point("large", math.inf, 1, 1), Point("small", -math.inf, 1, 1), Point("π/µ s", 1.0, 1, 0)],
    [Point("loss", 1.0, 1001, 1), Point("loss", 7.0, 3000, 400)],
)
"""Out of order, twice, equal but for the value, not finite, and some that are there already."""


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("store") / "mlflow.db"
        path.write_bytes(empty_store())
        yield f"sqlite:///{path}"
        return
    with postgres("mlflow") as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSFILE", str(server.passfile))
        yield server.url("mlflow")


def rows(uri: str, run_id: str) -> list[list[tuple[object, ...]]]:
    """The params, the points and the latest points that the database has of a run."""
    engine = sqlalchemy.create_engine(uri)
    tables = ("SELECT * FROM params", "SELECT * FROM metrics", "SELECT * FROM latest_metrics")
    with engine.connect() as connection:
        found = [connection.execute(sqlalchemy.text(each)).mappings().all() for each in tables]
    engine.dispose()
    columns = ("key", "step", "timestamp", "is_nan", "value")
    return [
        sorted(
            tuple(row.get(name) for name in columns) for row in table if row["run_uuid"] == run_id
        )
        for table in found
    ]


@pytest.fixture
def tables(uri: str) -> Iterator[RunTables]:
    made = RunTables.of(uri)
    assert made is not None
    yield made
    made.close()


def test_the_rows_are_those_of_log_batch(uri: str, tables: RunTables) -> None:
    client = MlflowClient(uri)
    theirs, ours = (client.create_run("0").info.run_id for _ in range(2))
    for number, batch in enumerate(BATCHES):
        params = dict(list(PARAMS.items())[:number])
        metrics = [Metric(*point) for point in batch]
        client.log_batch(theirs, metrics, [Param(*each) for each in params.items()])
        tables.write(ours, params, batch)
        assert rows(uri, ours) == rows(uri, theirs)
    tables.write(ours, PARAMS, [point for batch in BATCHES for point in batch])
    tables.write(ours, {}, [])
    assert rows(uri, ours) == rows(uri, theirs)
    assert client.get_run(ours).data.metrics == pytest.approx(
        client.get_run(theirs).data.metrics, nan_ok=True
    )


def test_all_of_a_batch_or_nothing(uri: str, tables: RunTables) -> None:
    run = MlflowClient(uri).create_run("0").info.run_id
    impossible = Point("other", 1.0, 1, None)  # type: ignore[arg-type]
    with pytest.raises(sqlalchemy.exc.SQLAlchemyError):
        tables.write(run, PARAMS, [Point("loss", 1.0, 1, 1), impossible])
    assert rows(uri, run) == [[], [], []]


def test_a_run_that_is_deleted_gets_no_points(uri: str, tables: RunTables) -> None:
    client = MlflowClient(uri)
    run = client.create_run("0").info.run_id
    client.delete_run(run)
    for refused in (run, "0" * 32):
        with pytest.raises(MlflowException, match=f"The run {refused} must be in") as caught:
            tables.write(refused, PARAMS, [Point("loss", 1.0, 1, 1)])
        assert tracking.is_refusal(caught.value)
        assert rows(uri, refused) == [[], [], []]


def test_a_server_has_no_tables_to_write_to() -> None:
    assert RunTables.of("http://127.0.0.1:5000") is None
