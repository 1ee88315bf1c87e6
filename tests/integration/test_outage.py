"""A tracking server that is killed and started again, and one that asks for a password."""

import time
from pathlib import Path

import pytest

from sweep.recording.outbox import Backlog
from sweep.recording.records import SweepEnded, SweepStarted
from tests.integration.mlflow_server import HOST, Wire, mlflow_server
from tests.integration.recorded import T0, Found, Place, wait_for

pytestmark = pytest.mark.slow

TRIALS = 30


def test_a_server_killed_in_the_sweep_and_in_the_drain_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", HOST)
    server = tmp_path / "server"
    server.mkdir()
    with mlflow_server(server) as port:
        place = Place(tmp_path, f"http://{HOST}:{port}")
        recording = place.start()
        place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
        for number in range(10):
            place.train(number)
        place.begin(10)
        place.link(10, 1, 3)
        wait_for(lambda: len(place.outbox.run_ids()) > 3)
    started = time.perf_counter()
    place.link(10, 4, 9)
    place.end(10)
    for number in range(11, TRIALS):
        place.train(number)
    place.outbox.add(SweepEnded("complete", T0 + 3))
    assert time.perf_counter() - started < 2  # the driver is not held up
    wait_for(lambda: recording.trouble is not None)

    def sent() -> int:
        return TRIALS - place.outbox.backlog().records // 4

    before = sent()
    with mlflow_server(server, port):
        wait_for(lambda: sent() > before + 3)
        recording._close_pipe()  # the final drain begins
        wait_for(lambda: sent() > before + 6)
    assert not place.outbox.backlog().empty
    with mlflow_server(server, port):
        assert recording.drain(100, lambda backlog: None) == Backlog(0, 0, 0)
        found = Found(place.uri)
        found.check_complete(range(TRIALS))
        assert {run.info.status for run in [*found.parents, *found.children]} == {"FINISHED"}
    place.outbox.close()


def test_a_server_with_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", HOST)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with mlflow_server(tmp_path) as port:
        wire = Wire(port)
        wire.password = "ada:right"
        wire.join()
        place = Place(tmp_path / "workspace", wire.uri)
        recording = place.start()
        place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
        place.train(0)
        wait_for(lambda: "401" in (recording.trouble or ""))
        assert place.outbox.backlog().records == 5
        recording.stop()
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "right")
        recording = place.start()
        place.outbox.add(SweepEnded("complete", T0 + 3))
        assert recording.drain(100, lambda backlog: None) == Backlog(0, 0, 0)
        Found(wire.uri).check_complete(range(1))
    place.outbox.close()
