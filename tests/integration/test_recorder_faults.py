"""Every record arrives exactly once, whatever is killed or cut on the way."""

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from sweep.recording import recorder, tracking
from sweep.recording.outbox import Backlog, Outbox
from sweep.recording.pictures import CurvePainter
from sweep.recording.records import SweepEnded, SweepStarted
from sweep.recording.run_tables import RunTables
from tests.integration.mlflow_server import Wire, empty_store, mlflow_server
from tests.integration.recorded import EPOCHS, T0, Found, Place, ignore, wait_for

pytestmark = pytest.mark.filterwarnings(  # MLflow's own use of SQLAlchemy
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "mlflow.db").write_bytes(empty_store())
    place = Place(tmp_path)
    yield place
    place.outbox.close()


DEADLY: list[tuple[Any, str]] = [
    (MlflowClient, "create_experiment"),
    (MlflowClient, "create_run"),  # the parent
    (Outbox, "keep_run"),
    (MlflowClient, "create_run"),  # a child
    (RunTables, "write"),
    (tracking, "upload"),
    (MlflowClient, "set_terminated"),
    (Outbox, "sent"),
    (CurvePainter, "draw"),
]
"""The calls after which a recorder is killed: what was asked for is done, and nobody knows."""


def drain_in_child(place: tuple[str, str, str | None], deadly: int | None) -> None:
    """A whole recorder, forked off a process that has imported mlflow already."""
    study, os.environ["MLFLOW_TRACKING_URI"], artifact_root = place
    recorder._share_with_training = lambda: None  # the test shall end on a busy machine, too
    if deadly is not None:
        owner, name = DEADLY[deadly]
        call = getattr(owner, name)

        def last(*args: Any, **kwargs: Any) -> None:
            call(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, last)
    sys.exit(recorder.main(study, artifact_root))


def start_child(place: Place, deadly: int | None = None) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.integration.test_recorder_faults", "sweep.recording.sender"]
    )
    arguments = ((str(place.study), place.uri, place.artifact_root), deadly)
    child = context.Process(target=drain_in_child, args=arguments)
    child.start()
    return child


def test_a_recorder_that_is_killed_again_and_again_doubles_nothing(place: Place) -> None:
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
    for number in range(4):
        place.train(number)
    for deadly in range(len(DEADLY)):
        child = start_child(place, deadly)
        child.join()
        assert child.exitcode == -signal.SIGKILL, DEADLY[deadly]
    child = start_child(place)
    child.join()
    assert child.exitcode == 0
    assert place.outbox.backlog() == Backlog(0, 0, 0)
    Found(place.uri).check_complete(range(4))
    assert list((place.study / "weights").iterdir()) == []


def test_two_recorders_are_never_at_work_at_once(place: Place) -> None:
    place.train(0)
    path = place.study / "recorder.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = start_child(place)
        opened = Path(f"/proc/{child.pid}/fd")
        wait_for(lambda: path in [fd.resolve() for fd in opened.iterdir()])
        child.join(0.5)
        assert place.outbox.fact("tracking_uri") is None
    child.join()
    assert child.exitcode == 0
    assert place.outbox.backlog() == Backlog(0, 0, 0)


def test_what_another_recorder_has_done_is_not_done_again(place: Place) -> None:
    """A recorder was killed in the midst of a call; its points can be told by their values."""
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
    place.send_all()
    client, parent = MlflowClient(place.uri), Found(place.uri).parents[0].info
    tags = {"sweep.trial": "0", "mlflow.parentRunId": parent.run_id}
    run = client.create_run(parent.experiment_id, T0, tags).info
    for step in (1, 2):
        client.log_metric(run.run_id, "val_loss", 77.0, T0 + 3000 - 500 * (3 - step), step)
    place.train(0)
    place.send_all()
    found = Found(place.uri)
    assert [child.info.run_id for child in found.children] == [run.run_id]
    points = found.points(found.trials[0], "val_loss")
    assert [step for step, _ in points] == list(range(1, EPOCHS + 1))
    assert [value for _, value in points[:2]] == [77.0, 77.0]
    assert len(found.points(found.trials[0], "train_loss")) == EPOCHS


DRIVER = """
import os, sys, time
from pathlib import Path
from tests.integration.recorded import *
from sweep.recording.records import SweepStarted
place = Place(Path(sys.argv[1]))
place.start()
place.outbox.add(SweepStarted("Which one?", "name: digits\\n", T0))
place.train(0)
place.begin(1)
place.link(1, 1, 3)
print("done", flush=True)
time.sleep(60)
"""


def test_what_a_killed_driver_has_recorded_arrives(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_store())
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "done\n"
        driver.kill()
    with closing(Outbox(tmp_path / "digits/outbox.db")) as outbox:
        wait_for(lambda: outbox.backlog().empty)
    found = Found(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert sorted(found.trials) == [0, 1]
    assert [step for step, _ in found.points(found.trials[1], "val_loss")] == [1, 2, 3]


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield Wire(port)


def test_a_server_that_is_down_and_loses_answers(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is never held up, and all is there once, although answers were lost."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    place = Place(tmp_path, wire.uri)
    recording = place.start()
    started = time.perf_counter()
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
    for number in range(3):
        place.train(number)
    assert time.perf_counter() - started < 1
    wait_for(lambda: recording.trouble is not None)
    assert place.outbox.backlog().records == 13
    wire.lose = {"runs/create": 2, "runs/log-batch": 2, "config.yaml": 1, "runs/update": 1}
    wire.join()
    wait_for(lambda: place.outbox.backlog().records < 12)
    wire.cut()
    place.train(3)
    time.sleep(0.3)
    wire.join()
    place.outbox.add(SweepEnded("complete", T0 + 3))
    assert recording.drain(100, ignore) == Backlog(0, 0, 0)
    assert set(wire.lose.values()) == {0}
    Found(wire.uri).check_complete(range(4))
    place.outbox.close()
