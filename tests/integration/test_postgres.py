"""Trials in PostgreSQL, a real one: kept, waited for when it restarts, gone on with."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from sqlalchemy.pool import NullPool

from sweep import driver
from sweep.recording import tracking
from sweep.scheduling.ray_runner import RayUnavailable
from sweep.scheduling.runner import Runner
from sweep.search import lock
from sweep.search.storage import STUDY, Storage, study_file, taken
from sweep.search.trial import Event, Trial
from sweep.spec.study import check
from sweep.spec.study_file import assign, load
from sweep.workspace import StudyInUse, Workspace
from tests.integration.conftest import SMOKE, Sweep, eventually
from tests.integration.postgres import Postgres, postgres
from trainer.rules import ConfigError

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


def cut_off(server: Postgres, end: str) -> None:
    """Ends sessions of the server, as it does itself with those whose client is gone."""
    engine = sqlalchemy.create_engine(server.url("mlflow"), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(end))


EVERYONE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'studies'"
HOLDERS = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"


@pytest.mark.parametrize("end", [EVERYONE, HOLDERS])
def test_a_driver_that_was_cut_off_writes_nothing_into_a_study_that_another_took(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(server.passfile))
    monkeypatch.setattr(lock, "GRACE_SECONDS", 1.0)
    url, name = server.url("studies"), f"cut-{len(end)}"
    mine = Storage(url, name, directions=["maximize"])
    mine.start(Trial(0, {}, {}), {})
    cut_off(server, end)
    theirs = Storage(url, name, directions=["maximize"])
    trial = Trial(0, {}, {})
    trial.happens(Event.SUBMIT)
    trial.values = [0.5]
    trial.happens(Event.FINISH)
    with pytest.raises(StudyInUse):
        mine.end(trial)
    with pytest.raises(StudyInUse):
        mine.note("key", 1)
    with pytest.raises(StudyInUse):
        mine.start(Trial(1, {}, {}), {})
    theirs.end(trial)
    (found,) = theirs.trials()
    assert found.state.is_finished()
    assert theirs.notes() == {}
    mine.close()
    theirs.close()


def test_a_driver_waits_until_the_server_gives_up_its_own_lost_connection(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(server.passfile))
    with relay(server.port) as (port, cut):
        passwords = server.passfile.with_name("relayed")
        passwords.touch(mode=0o600)
        passwords.write_text(f"127.0.0.1:*:*:postgres:{server.password}\n", "ascii")
        monkeypatch.setenv("PGPASSFILE", str(passwords))
        url = server.url("studies").replace(str(server.port), str(port))
        mine = Storage(url, "blip", directions=["maximize"])
        cut()  # the server has not heard of it
        later = threading.Timer(1.5, cut_off, (server, HOLDERS))
        later.start()
        mine.note("key", 1)
        later.join()
        assert "waiting for the study storage" in capsys.readouterr().err
        with pytest.raises(StudyInUse):
            Storage(server.url("studies"), "blip", directions=["maximize"])
        assert mine.notes() == {"key": 1}
        mine.close()


def test_the_server_gives_up_a_lost_connection_before_its_driver_does() -> None:
    idle, interval, count, unanswered = lock.ABANDONED.values()
    assert max(idle + interval * count, unanswered / 1000) < lock.GRACE_SECONDS


def test_a_study_that_runs_in_another_workspace_is_not_deleted(
    tmp_path: Path, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(server.passfile))
    url = server.url("studies")
    here = Sweep(tmp_path / "results", None)
    folder = Workspace(here.workspace).study("shared")
    folder.path.mkdir(parents=True)
    folder.file.write_text("model: none", encoding="utf-8")  # which is no study any more
    (folder.path / "storage").write_text(url, encoding="utf-8")
    theirs = Storage(url, "shared", directions=["maximize"])
    said = here("delete", "shared", "--yes", code=3)
    assert "study 'shared' is in use by another driver on its database" in said
    theirs.note("key", 1)
    theirs.close()
    assert folder.file.exists()
    here("delete", "shared", "--yes")
    assert not taken(url, "shared")
    assert not folder.path.exists()


def test_a_study_that_another_workspace_holds_or_has_changed_is_left_as_it_is(
    tmp_path: Path, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(server.passfile))
    monkeypatch.setenv("SWEEP_STORAGE", server.url("studies"))
    values = assign(load(SMOKE), "name", "both")
    before, longer = (check(assign(values, "search.trials", n)).text for n in (4, 9))
    folder = Workspace(tmp_path).study("both")
    folder.create(before)
    theirs = Storage(server.url("studies"), "both", directions=["maximize"])
    theirs.note(STUDY, before)

    def resume(trials: str | None) -> None:
        driver.resume("both", trials=trials, folder=str(tmp_path), quiet=True, runner=no_ray)

    with pytest.raises(StudyInUse):
        resume("+5")
    assert folder.file.read_text() == before
    theirs.note(STUDY, longer)
    theirs.close()
    for trials in (None, "+1"):
        with pytest.raises(ConfigError, match=r"\(search differs\).* remove this file") as told:
            resume(trials)
        assert "postgresql" not in str(told.value)  # its URL may hold a password
    assert folder.file.read_text() == before
    assert study_file(server.url("studies"), "both") == longer

    with pytest.raises(RayUnavailable):  # it got so far
        resume("9")
    assert folder.file.read_text() == longer
    with pytest.raises(RayUnavailable):
        resume("+2")
    assert study_file(server.url("studies"), "both") == folder.file.read_text() != longer
    folder.file.unlink()
    with pytest.raises(RayUnavailable):
        resume(None)
    assert check(load(folder.file)).search.trials == 11


def no_ray(*_: object) -> Runner:
    raise RayUnavailable("none")


@contextmanager
def relay(port: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """Relays a port; what it yields cuts the clients off, while the server hears nothing."""
    pairs: list[tuple[socket.socket, socket.socket]] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", port))
                pairs.append((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    def cut() -> None:
        for client, _ in pairs:
            client.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listening.getsockname()[1], cut
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for each in (each for pair in pairs for each in pair):
                each.close()


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
