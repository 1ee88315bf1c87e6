"""The making of an MLflow store that is cut off."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sweep.recording import tracking

pytestmark = pytest.mark.filterwarnings(  # MLflow's own use of SQLAlchemy
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


CUT_OFF = """
import os, signal, sys
from mlflow.store.db import utils
from sweep.recording import tracking

utils._upgrade_db = lambda engine: os.kill(os.getpid(), signal.SIGKILL)
tracking.connect(sys.argv[1])
"""
"""Is killed when MLflow has made its first tables and is to bring them to its version."""

KILLED = """
import os, signal, sys
from sweep.recording import tracking

client = tracking.connect(sys.argv[1])
experiment = client.create_experiment("digits")
for _ in range(20):
    client.create_run(experiment)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_store_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"
    command = [sys.executable, "-c", CUT_OFF, uri]
    cut_off = subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
    assert cut_off.returncode == -signal.SIGKILL
    assert not path.exists()
    with closing(sqlite3.connect(path)) as empty:  # as one is left by whoever looked for it
        empty.execute("PRAGMA journal_mode = WAL")
    assert tracking.experiment(tracking.connect(uri), "digits", None)
    assert [each.name for each in tmp_path.iterdir() if "part" in each.name] == []


def test_a_store_that_was_removed_leaves_nothing_behind(tmp_path: Path) -> None:
    """Whoever is killed leaves the write-ahead log of the store."""
    path, log = tmp_path / "mlflow.db", tmp_path / "mlflow.db-wal"
    uri = f"sqlite:///{path}"
    command = [sys.executable, "-c", KILLED, uri]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert log.stat().st_size
    path.unlink()
    names = [each.name for each in tracking.connect(uri).search_experiments()]
    assert names == ["Default"]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
