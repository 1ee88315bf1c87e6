"""`ui` shows the real MLflow server on the study's page, and says clearly why when it can't."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweep.recording.outbox import Outbox
from sweep.ui import HOST, UiError, serve
from sweep.workspace import UnknownStudy, Workspace
from tests.integration.mlflow_server import empty_store, free_port

pytestmark = pytest.mark.filterwarnings(  # MLflow's own use of SQLAlchemy
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)

SERVE = """
import sys
from pathlib import Path
from sweep.ui import serve
from sweep.workspace import Workspace
place = Workspace(Path(sys.argv[1]))
serve(place, "digits", int(sys.argv[2]), lambda text: print(text, flush=True))
print("ended")
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with one study of one run."""
    for name in ("MLFLOW_TRACKING_URI", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    place = Workspace(tmp_path)
    place.study("digits").create("name: digits\n")
    (tmp_path / "mlflow.db").write_bytes(empty_store())
    client = MlflowClient(place.tracking_uri)
    experiment = client.create_experiment("digits", place.artifact_root)
    client.create_run(experiment, run_name="#0 elu")
    with closing(Outbox(place.study("digits").outbox)) as outbox:
        outbox.note("experiment_id", experiment)
    return place


def get(address: str, body: object = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})  # noqa: S310
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_the_ui_opens_on_the_study_and_ends_with_a_signal(place: Workspace, how: int) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(place.path), str(port)], stdout=subprocess.PIPE, text=True
    ) as ui:
        assert ui.stdout is not None
        assert "starting" in ui.stdout.readline()
        experiment = MlflowClient(place.tracking_uri).get_experiment_by_name("digits").experiment_id
        address = f"http://{HOST}:{port}"
        assert f"{address}/#/experiments/{experiment}/runs " in ui.stdout.readline()
        assert "<title>MLflow</title>" in get(address)
        found = get(f"{address}/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment]})
        assert [run["info"]["run_name"] for run in json.loads(found)["runs"]] == ["#0 elu"]
        os.kill(ui.pid, how)
        assert ui.stdout.read() == "ended\n"
        assert ui.wait() == 0
    with socket.socket() as probe:
        assert probe.connect_ex((HOST, port)) != 0


def said(place: Workspace, name: str | None = None, port: int = 0) -> list[str]:
    told: list[str] = []
    serve(place, name, port, told.append)
    return told


def test_a_port_that_is_taken(place: Workspace) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UiError, match=f"port {port} is not free .*--port"):
            said(place, port=port)


def test_a_workspace_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").touch()
    (tmp_path / "ui.log").mkdir()
    with pytest.raises(UiError, match=f"workspace {tmp_path}: cannot be written: Is a directory"):
        said(Workspace(tmp_path), port=free_port())


@pytest.mark.parametrize("kind", ["nonsense", "mysql"])  # a database of no kind, one without driver
def test_a_database_that_nothing_here_opens(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{kind}://nowhere/at-all")
    with pytest.raises(UiError, match="the MLflow database can't be opened: "):
        said(place, port=free_port())


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_does_not_exist(place: Workspace, port: int) -> None:
    with pytest.raises(UiError, match=f"port {port} is not free"):
        said(place, port=port)


def test_a_workspace_with_nothing_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UiError, match=r"nothing has been recorded yet: there is no .*mlflow\.db"):
        said(Workspace(tmp_path / "none"), port=free_port())
    assert not (tmp_path / "none").exists()


def test_a_study_that_does_not_exist(place: Workspace) -> None:
    with pytest.raises(UnknownStudy, match="digits"):
        said(place, "digit")


def test_an_older_database_is_not_upgraded(place: Workspace) -> None:
    with closing(sqlite3.connect(place.path / "mlflow.db")) as store:
        store.execute("UPDATE alembic_version SET version_num = 'cc1f77228345'")
        store.commit()
    with pytest.raises(UiError, match="mlflow db upgrade"):
        said(place, port=free_port())


def test_a_tracking_server_is_only_pointed_at(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000/")
    assert said(place) == ["MLflow UI: http://tracking.example:5000/"]
    assert said(place, "digits") == ["MLflow UI: http://tracking.example:5000/#/experiments/1/runs"]


def test_a_file_that_is_no_database(place: Workspace) -> None:
    (place.path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(UiError, match="file is not a database"):
        said(place, port=free_port())
