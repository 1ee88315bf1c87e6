"""Params and metrics of runs, written into the tables of an MLflow database.

`log_batch` makes an object of every row and compares points with the run's latest, which is most of
what recording a trial takes. The rows written here are those that it would write (tested), and one
that is there already stays as it is. A server's database is its own: it is sent batches.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    String,
    bindparam,
    column,
    create_engine,
    select,
    table,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from sweep.recording.projection import Point

INSERT: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""By database: an INSERT that can say what is to be done where a row is there already."""

LARGEST = float(np.finfo(np.float64).max)
"""What MLflow writes for infinity."""


class RunTables:
    """The tables `params`, `metrics` and `latest_metrics` of a database of a checked schema.

    Args:
        database_uri: as for `tracking.connect`.
    """

    def __init__(self, database_uri: str) -> None:
        self._engine = create_engine(database_uri, pool_pre_ping=True)
        runs = table("runs", column("run_uuid", String), column("lifecycle_stage", String))
        self._stage = select(runs.c.lifecycle_stage).where(runs.c.run_uuid == bindparam("run"))
        insert = INSERT[self._engine.dialect.name]
        params = table("params", *(column(name, String) for name in ("run_uuid", "key", "value")))
        self._params = insert(params).on_conflict_do_nothing()
        self._points = insert(_points("metrics")).on_conflict_do_nothing()
        latest = _points("latest_metrics")
        replace = insert(latest)
        new, age = replace.excluded, ("step", "timestamp", "value")
        self._latest = replace.on_conflict_do_update(
            index_elements=["key", "run_uuid"],
            set_={name: new[name] for name in (*age, "is_nan")},
            where=tuple_(*(new[name] for name in age)) > tuple_(*(latest.c[name] for name in age)),
        )

    @classmethod
    def of(cls, tracking_uri: str) -> Self | None:
        """The tables that a tracking URI names, None if it names a server."""
        kind = tracking_uri.partition(":")[0].partition("+")[0]
        return cls(tracking_uri) if kind in INSERT else None

    def close(self) -> None:
        """Lets go of the connections."""
        self._engine.dispose()

    def write(self, run_id: str, params: Mapping[str, str], points: Sequence[Point]) -> None:
        """Adds params and points to a run in one transaction.

        Raises:
            MlflowException: the run is deleted, or not there.
            SQLAlchemyError: the database does not work; nothing was written.
        """
        rows = [_row(run_id, point) for point in points]
        latest: dict[str, dict[str, Any]] = {}
        for row in rows:
            other = latest.get(row["key"])
            if other is None or _age(row) > _age(other):
                latest[row["key"]] = row
        with self._engine.begin() as connection:
            if (stage := connection.scalar(self._stage, {"run": run_id})) != "active":
                stage = stage or "gone"
                text = f"The run {run_id} must be in the 'active' state. Current state is {stage}."
                raise MlflowException(text, INVALID_PARAMETER_VALUE)
            if params:
                given = [{"run_uuid": run_id, "key": k, "value": v} for k, v in params.items()]
                connection.execute(self._params, given)
            if rows:
                connection.execute(self._points, rows)
                connection.execute(self._latest, [latest[name] for name in sorted(latest)])


def _points(name: str) -> Any:
    return table(
        name,
        column("run_uuid", String),
        column("key", String),
        column("value", Double),
        column("timestamp", BigInteger),
        column("step", BigInteger),
        column("is_nan", Boolean),
    )


def _row(run_id: str, point: Point) -> dict[str, Any]:
    name, value, at_ms, step = point
    is_nan = value != value
    return {
        "run_uuid": run_id,
        "key": name,
        "value": 0.0 if is_nan else min(max(value, -LARGEST), LARGEST),
        "timestamp": at_ms,
        "step": step,
        "is_nan": is_nan,
    }


def _age(row: dict[str, Any]) -> tuple[int, int, float]:
    return row["step"], row["timestamp"], row["value"]
