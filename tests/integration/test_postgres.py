"""Trials in PostgreSQL, a real one: kept, waited for when it restarts, gone on with."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase

from sweep.recording import tracking
from sweep.search.storage import Storage, taken
from sweep.workspace import StudyInUse
from tests.integration.conftest import SMOKE, Sweep, eventually
from tests.integration.postgres import Postgres, postgres

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres("studies", "mlflow", "cut") as made:
        yield made


@pytest.fixture
def sweep(
    tmp_path: Path, ray_address: str, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> Sweep:
    """The command line, with its trials and its runs in PostgreSQL."""
    monkeypatch.setenv("PGPASSFILE", str(server.passfile))
    stores = {
        "SWEEP_STORAGE": server.url("studies"),
        "MLFLOW_TRACKING_URI": server.url("mlflow"),
    }
    return Sweep(tmp_path / "results", ray_address, **stores)


def finished(process: "subprocess.Popen[str]") -> None:
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, output + errors


@pytest.mark.slow
def test_trials_and_runs_are_kept_in_postgresql(sweep: Sweep, server: Postgres) -> None:
    finished(sweep.start("run", SMOKE, "--name", "kept"))
    shown = sweep.show("kept")
    assert shown["state"] == "finished"
    stored = Storage(server.url("studies"), "kept").trials()
    assert [each.number for each in stored] == [each["number"] for each in shown["trials"]]
    assert all(each["mlflow_run_id"] for each in shown["trials"])
    assert not (sweep.workspace / "mlflow.db").exists()

    folder = sweep.workspace / "kept"
    assert not (folder / "trials.log").exists()
    files = [each for each in sweep.workspace.rglob("*") if each.is_file()]
    assert [each for each in files if server.password.encode() in each.read_bytes()] == []

    sweep("delete", "kept", "--yes")
    assert not taken(server.url("studies"), "kept")


def test_a_study_of_another_workspace_is_not_taken_over(sweep: Sweep, server: Postgres) -> None:
    Storage(server.url("studies"), "theirs", directions=["maximize"]).close()
    said = sweep("run", SMOKE, "--name", "theirs", code=2)
    assert "name: is the name of another study in $SWEEP_STORAGE" in said


@pytest.mark.slow
def test_a_restart_in_the_middle_is_waited_out(sweep: Sweep, server: Postgres) -> None:
    slow = ("--set=model.hidden=[512, 512]", "--set=training.epochs=12", "--set=search.pruner=none")
    process = sweep.start("run", SMOKE, "--name", "restarted", "--trials", "40", *slow)
    eventually(lambda: _ended(server, "restarted") >= 3, 60)
    server.stop()
    time.sleep(2)
    assert process.poll() is None
    server.start()
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, output + errors
    assert "waiting for the study storage" in errors
    trials = sweep.show("restarted")["trials"]
    assert [each["number"] for each in trials] == list(range(40))
    assert {each["state"] for each in trials} <= {"complete", "pruned"}
    runs = [each["mlflow_run_id"] for each in trials]
    assert None not in runs
    assert len(set(runs)) == 40


@pytest.mark.slow
def test_a_driver_that_was_killed_goes_on_from_postgresql(sweep: Sweep, server: Postgres) -> None:
    process = sweep.start("run", SMOKE, "--name", "killed", "--trials", "20")
    eventually(lambda: _ended(server, "killed") >= 3, 60)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    before = _ended(server, "killed")
    assert before < 20
    finished(sweep.start("resume", "killed"))
    trials = sweep.show("killed")["trials"]
    assert [each["number"] for each in trials] == list(range(20))
    assert {each["state"] for each in trials} <= {"complete", "pruned"}


def test_what_is_written_during_a_restart_is_written_once(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(server.passfile))
    storage = Storage(server.url("studies"), "patient", directions=["maximize"])
    server.stop()
    later = threading.Timer(1.5, server.start)
    later.start()
    storage.note("key", [1, 2])
    later.join()
    storage.close()
    assert Storage(server.url("studies"), "patient").notes() == {"key": [1, 2]}


def test_one_driver_at_a_time_holds_a_study_wherever_it_runs(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(server.passfile))
    url = server.url("studies")
    mine = Storage(url, "held", directions=["maximize"])
    Storage(url, "other", directions=["maximize"]).close()
    for _ in range(2):
        with pytest.raises(StudyInUse, match="'held' is in use by another driver"):
            Storage(url, "held", directions=["maximize"])
        server.stop()  # which ends the lock as well
        server.start()
        for value in range(2):
            mine.note("key", value)
    mine.close()
    Storage(url, "held", directions=["maximize"]).close()


def _ended(server: Postgres, name: str) -> int:
    try:
        trials = Storage(server.url("studies"), name).trials()
    except FileNotFoundError:
        return 0
    return sum(each.state.is_finished() for each in trials)


def test_tables_whose_making_was_cut_off_are_gone_on_with(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow makes its tables of the first version, and then brings them to the last."""
    monkeypatch.setenv("PGPASSFILE", str(server.passfile))
    engine = sqlalchemy.create_engine(server.url("cut"))
    InitialBase.metadata.create_all(engine)
    engine.dispose()
    client = tracking.connect(server.url("cut"))
    assert tracking.experiment(client, "digits", None)
