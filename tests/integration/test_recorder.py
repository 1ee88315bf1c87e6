"""Every record arrives in the real MLflow, exactly once, whatever is killed or cut on the way."""

import fcntl
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from sweep import recorder, tracking
from sweep.outbox import Backlog, Outbox
from sweep.pictures import CurvePainter
from sweep.projection import name_of
from sweep.recording import Recording
from sweep.records import Epochs, Scalar, SweepEnded, SweepStarted, TrialEnded, TrialStarted
from tests.integration.mlflow_server import Wire, empty_store, mlflow_server

pytestmark = pytest.mark.filterwarnings(  # MLflow's own use of SQLAlchemy
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)

EPOCHS, R = 9, 3
METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
T0 = 1_700_000_000_000
CONFIG = "model: {activation: elu}\n"


class Place:
    """A workspace with one study."""

    def __init__(self, path: Path, tracking_uri: str | None = None):
        self.study = path / "digits"
        (self.study / "weights").mkdir(parents=True)
        self.artifact_root = None if tracking_uri else (path / "mlartifacts").as_uri()
        self.uri = tracking_uri or f"sqlite:///{path / 'mlflow.db'}"
        self.outbox = Outbox(self.study / "outbox.db")

    def start(self) -> Recording:
        return Recording(self.outbox, self.study, self.uri, self.artifact_root)

    def send_all(self) -> None:
        """Sends what is in the outbox, in this process."""
        with Path(os.devnull).open() as nobody:
            code = recorder.record(self.outbox, self.study, self.uri, self.artifact_root, nobody)
        assert code == 0

    def begin(self, number: int) -> None:
        params: dict[str, Scalar] = {
            "model.activation": "elu",
            "model.dropout": 0.25,
            "n": number,
        }
        self.outbox.add(TrialStarted(number, f"#{number} elu", params, CONFIG, T0 + number))

    def link(self, number: int, first: int, last: int) -> None:
        self.outbox.add(Epochs(number, first, history(number, first, last), T0 + 1000 * last))

    def end(self, number: int, state: str = "complete", **more: Any) -> None:
        weights = f"weights/{number}.npz"
        np.savez(self.study / weights, w=np.full((R, 2), number))
        at_ms = T0 + 60_000 + number
        figures: dict[str, Any] = {"value": 0.5, "values": [0.4, 0.5, 0.6], "weights": weights}
        self.outbox.add(TrialEnded(number, state, EPOCHS, at_ms, **figures, **more))

    def train(self, number: int) -> None:
        """All records of a trial that completes."""
        self.begin(number)
        self.link(number, 1, 3)
        self.link(number, 4, EPOCHS)
        self.end(number)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "mlflow.db").write_bytes(empty_store())
    place = Place(tmp_path)
    yield place
    place.outbox.close()


def history(number: int, first: int, last: int) -> dict[str, np.ndarray]:
    """Values that tell trial, metric, epoch and replicate apart."""
    epoch = np.arange(first, last + 1, dtype=float)[:, None]
    base = number + epoch / 100 + np.array([-0.001, 0.0, 0.001])
    found = {name: base + 1000 * index for index, name in enumerate(METRICS)}
    return found | {"learning_rate": 0 * base + 0.01, "epoch_seconds": 0 * base + 0.5}


class Found:
    """What MLflow holds of the study."""

    def __init__(self, uri: str):
        self.client = MlflowClient(uri)
        self.experiment = self.client.get_experiment_by_name("digits")
        runs = self.client.search_runs([self.experiment.experiment_id], "", ViewType.ALL, 1000)
        self.parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        self.children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        self.trials = {int(run.data.tags["sweep.trial"]): run for run in self.children}

    def artifacts(self, run: Any) -> dict[str, bytes]:
        names = [file.path for file in self.client.list_artifacts(run.info.run_id)]
        folder = self.client.download_artifacts(run.info.run_id, "")
        return {name: Path(folder, name).read_bytes() for name in sorted(names)}

    def points(self, run: Any, name: str) -> list[tuple[int, float]]:
        found = self.client.get_metric_history(run.info.run_id, name)
        return [(point.step, point.value) for point in found]

    def check_complete(self, numbers: range) -> None:
        """One parent, one run a trial, and every point of each exactly once."""
        assert len(self.parents) == 1
        doubled = Counter(run.data.tags["sweep.trial"] for run in self.children)
        assert doubled == Counter(str(number) for number in numbers)
        parent = self.parents[0].info.run_id
        for number, run in self.trials.items():
            assert run.info.status == "FINISHED"
            assert run.data.tags["mlflow.parentRunId"] == parent
            assert run.data.params["n"] == str(number)
            assert list(self.artifacts(run)) == ["config.yaml", "learning_curve.png", "weights.npz"]
            for name, values in history(number, 1, EPOCHS).items():
                points = self.points(run, name)
                assert [step for step, _ in points] == list(range(1, EPOCHS + 1))
                assert [value for _, value in points] == pytest.approx(values.mean(1).tolist())
                if name in METRICS:
                    assert len(self.points(run, f"{name}_sd")) == EPOCHS
            assert self.points(run, "value") == [(EPOCHS, 0.5)]


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ignore(_: Backlog) -> None:
    pass


def test_the_whole_life_of_a_sweep(place: Place, tmp_path: Path) -> None:
    """The real process, from the first record to the last artifact."""
    recording = place.start()
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0, {"host": "here"}))
    place.train(0)
    kept = tmp_path / "kept.npz"
    kept.hardlink_to(place.study / "weights/0.npz")
    place.begin(1)
    place.link(1, 1, 3)
    wait_for(lambda: 1 in place.outbox.run_ids())  # seen before it ends
    pid = recording._process.pid
    assert os.getsid(pid) == pid != os.getsid(0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        assert store.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert Found(place.uri).trials[1].info.status == "RUNNING"
    place.end(1, "pruned", reason="too slow")
    place.begin(2)
    place.outbox.add(TrialEnded(2, "failed", 0, T0 + 5, "ValueError: no", error="Traceback …\n"))
    place.begin(3)
    place.end(3, "stopped", reason="interrupted")
    place.outbox.add(SweepEnded("complete", T0 + 99, {"best_value": 0.5}, {"sweep.best": "0"}))
    assert recording.drain(60, ignore) == Backlog(0, 0, 0)
    assert recording.trouble is None

    found = Found(place.uri)
    assert found.experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert found.experiment.artifact_location == (tmp_path / "mlartifacts/digits").as_uri()
    (parent,) = found.parents
    assert parent.info.run_name == "digits"
    assert (parent.info.status, parent.info.start_time, parent.info.end_time) == (
        "FINISHED",
        T0,
        T0 + 99,
    )
    assert parent.data.metrics == {"best_value": 0.5}
    assert parent.data.tags["mlflow.note.content"] == "Which one?"
    assert parent.data.tags["sweep.study"] == "digits"
    assert parent.data.tags["host"] == "here"
    assert found.artifacts(parent) == {"study.yaml": b"name: digits\n"}

    states = {n: (run.info.status, run.data.tags["sweep.state"]) for n, run in found.trials.items()}
    assert states == {
        0: ("FINISHED", "complete"),
        1: ("FINISHED", "pruned"),
        2: ("FAILED", "failed"),
        3: ("KILLED", "stopped"),
    }
    first = found.trials[0]
    assert first.info.run_name == "#0 elu"
    assert (first.info.start_time, first.info.end_time) == (T0, T0 + 60_000)
    assert first.data.params == {"model.activation": "elu", "model.dropout": "0.25", "n": "0"}
    assert first.data.tags["sweep.study"] == "digits"
    assert "complete after 9 epochs" in first.data.tags["mlflow.note.content"]
    spread = [value for _, value in found.points(first, "train_loss_sd")]
    assert spread == pytest.approx([0.001] * EPOCHS)
    assert found.points(first, "learning_rate_sd") == []
    seconds = [p.timestamp for p in found.client.get_metric_history(first.info.run_id, "val_loss")]
    assert seconds[3:] == [T0 + 9000 - 500 * after for after in range(5, -1, -1)]
    assert found.trials[1].data.tags["sweep.reason"] == "too slow"
    assert len(found.points(found.trials[1], "val_loss")) == 3

    artifacts = found.artifacts(first)
    assert artifacts["config.yaml"].decode() == CONFIG
    assert artifacts["learning_curve.png"].startswith(b"\x89PNG")
    assert artifacts["weights.npz"] == kept.read_bytes()
    assert found.artifacts(found.trials[2]) == {
        "config.yaml": CONFIG.encode(),
        "error.txt": "Traceback …\n".encode(),
    }
    assert list((place.study / "weights").iterdir()) == []
    assert not (place.study / "outgoing").exists()


def test_a_resumed_sweep_goes_on_under_the_same_parent(place: Place) -> None:
    """Also: a recorder that is killed is started again."""
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
    place.train(0)
    place.begin(1)
    place.link(1, 1, 3)
    place.outbox.add(SweepEnded("stopped", T0 + 1))
    place.send_all()
    found = Found(place.uri)
    before = found.parents[0]
    assert (before.info.status, found.trials[1].info.status) == ("KILLED", "RUNNING")

    recording = place.start()
    place.outbox.add(SweepStarted("Which one?", "name: digits\n# more\n", T0 + 2))
    place.link(1, 1, 6)  # a link that is done again
    place.link(1, 7, EPOCHS)
    place.end(1)
    os.kill(recording._process.pid, signal.SIGKILL)
    recording._process.wait()
    place.train(2)
    place.outbox.add(SweepEnded("complete", T0 + 3))
    assert recording.drain(60, ignore).empty
    found = Found(place.uri)
    found.check_complete(range(3))
    (after,) = found.parents
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert (after.info.start_time, after.info.end_time) == (T0, T0 + 3)
    assert found.artifacts(after) == {"study.yaml": b"name: digits\n# more\n"}


DEADLY: list[tuple[Any, str]] = [
    (MlflowClient, "create_experiment"),
    (MlflowClient, "create_run"),  # the parent
    (Outbox, "keep_run"),
    (MlflowClient, "create_run"),  # a child
    (MlflowClient, "log_batch"),
    (tracking, "upload"),
    (MlflowClient, "set_terminated"),
    (Outbox, "sent"),
    (CurvePainter, "draw"),
]
"""The calls after which a recorder is killed: what was asked for is done, and nobody knows."""


def drain_in_child(place: tuple[str, str, str | None], deadly: int | None) -> None:
    """A whole recorder, forked off a process that has imported mlflow already."""
    study, os.environ["MLFLOW_TRACKING_URI"], artifact_root = place
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
    context.set_forkserver_preload(["tests.integration.test_recorder", "sweep.sender"])
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
from tests.integration.test_recorder import *
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


def test_an_older_database_is_left_as_it_is(place: Place, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        store.execute("UPDATE alembic_version SET version_num = 'cc1f77228345'")
        store.execute("DROP TABLE trace_tags")  # what MLflow would make anew
        store.commit()
    before = (tmp_path / "mlflow.db").read_bytes()
    place.train(0)
    recording = place.start()
    wait_for(lambda: recording.trouble is not None)
    assert "schema cc1f77228345" in str(recording.trouble)
    assert "mlflow db upgrade sqlite:///" in str(recording.trouble)
    recording.stop()
    assert place.outbox.backlog().records == 4
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_what_mlflow_refuses_is_set_aside_and_the_rest_goes_on(place: Place) -> None:
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
    place.begin(0)
    place.send_all()
    found = Found(place.uri)
    found.client.delete_run(found.trials[0].info.run_id)
    place.link(0, 1, 3)
    place.end(0)
    place.train(1)
    place.send_all()
    refused = place.outbox.refused()
    assert [type(entry.record) for entry, _ in refused] == [Epochs, TrialEnded]
    assert all("must be in the 'active' state" in reason for _, reason in refused)
    found = Found(place.uri)
    assert len(found.children) == 2
    assert found.trials[1].info.status == "FINISHED"


def test_odd_names_and_values_arrive_by_the_rule(place: Place) -> None:
    params = {"a?b": "x" * 10_000, "ü ber/x": None, "big": 10**400, "empty": ""}
    place.outbox.add(TrialStarted(0, "#0 ünïcode 'quoted' " + "x" * 300, params, "", T0))
    values = {"loss": np.array([[np.nan], [np.inf], [1.0]]), "bad*name": np.ones((3, 1))}
    place.outbox.add(Epochs(0, 1, values, T0))
    place.outbox.add(TrialEnded(0, "pruned", 3, T0, "diverged " * 2000, error=None))
    place.send_all()
    assert place.outbox.refused() == []
    found = Found(place.uri)
    run = found.trials[0]
    assert sorted(run.data.params) == [name_of("a?b"), "big", "empty", "ü ber/x"]
    assert run.data.params[name_of("a?b")].endswith("x… (10000 characters)")
    assert run.data.params["big"] == str(10**400)
    assert run.data.params["ü ber/x"] == "null"
    loss = [value for _, value in found.points(run, "loss")]
    assert np.isnan(loss[0])
    assert loss[1] == np.finfo(float).max
    assert len([name for name in run.data.metrics if name.startswith("bad_name-")]) == 1


def test_weights_that_are_gone_stop_nothing(place: Place) -> None:
    place.train(0)
    (place.study / "weights/0.npz").unlink()
    place.send_all()
    run = Found(place.uri).trials[0]
    assert (run.info.status, run.data.tags["sweep.missing"]) == ("FINISHED", "weights.npz")


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
    assert recording.drain(60, ignore) == Backlog(0, 0, 0)
    assert set(wire.lose.values()) == {0}
    Found(wire.uri).check_complete(range(4))
    place.outbox.close()
