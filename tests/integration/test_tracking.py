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
