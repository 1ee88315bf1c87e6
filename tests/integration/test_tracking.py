"""The making of an MLflow store that is cut off."""

import subprocess
import sys
from pathlib import Path

import pytest

from sweep.recording import tracking
from tests.integration.conftest import eventually

pytestmark = pytest.mark.filterwarnings(  # MLflow's own use of SQLAlchemy
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


def test_a_store_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    written = tmp_path / "mlflow.db.part-wal"
    make = f"from sweep.recording import tracking; tracking.connect('sqlite:///{path}')"
    with subprocess.Popen([sys.executable, "-c", make], stderr=subprocess.DEVNULL) as process:
        eventually(lambda: written.exists() and written.stat().st_size > 100_000, 60)
        process.kill()
    assert path.stat().st_size == 0
    client = tracking.connect(f"sqlite:///{path}")
    assert tracking.experiment(client, "digits", None)
    assert [each.name for each in tmp_path.iterdir() if "part" in each.name] == []
