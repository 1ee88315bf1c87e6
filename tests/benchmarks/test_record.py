"""What the comparison of recording rests on: all write the same points."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import record
from tests.integration.mlflow_server import empty_store

TRACKING = "MLFLOW_TRACKING_URI"
TRIALS, POINTS = 2, 27 * 12


@pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)
@pytest.mark.parametrize("peer", ["plain", "ray"])
def test_all_write_the_same_points(
    tmp_path: Path, peer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACKING, "")  # Ray's callback sets it, and MLflow's own default
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    if peer == "ray":
        pytest.importorskip("ray.tune", reason="Ray Tune is a peer", exc_type=ImportError)
    (tmp_path / "mlflow.db").write_bytes(empty_store())
    sent, drawn = record._recorded(tmp_path, TRIALS)
    written = record._written(tmp_path, TRIALS)
    theirs = (record._plain if peer == "plain" else record._ray)(tmp_path, written)
    assert min(*sent, *drawn, *theirs) > 0
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        counts = store.execute(
            "SELECT experiments.name, count(*) FROM metrics JOIN runs USING (run_uuid) "
            "JOIN experiments USING (experiment_id) "
            "WHERE key NOT IN ('value', 'value_sd', 'training_iteration') AND step > 0 GROUP BY 1"
        )
        assert dict(counts) == dict.fromkeys(("digits", peer), TRIALS * POINTS)
