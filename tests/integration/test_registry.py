"""The winner as a model in MLflow's registry."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from sweep.datasets import Datasets
from sweep.recording import logged_model, registry
from sweep.recording.outbox import Outbox, Run
from sweep.recording.records import Dataset, Winner
from sweep.spec.study import Study, check
from sweep.spec.study_file import load
from sweep.workspace import StudyFolder, Workspace
from tests.integration.conftest import SMOKE, Sweep
from tests.integration.mlflow_server import HOST, free_port

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning",
    "ignore:.*filesystem tracking backend.*:FutureWarning",
)


class Registered:
    """A copy of the finished workspace."""

    def __init__(self, finished: Sweep, path: Path) -> None:
        shutil.copytree(finished.workspace, path)
        self.uri = f"sqlite:///{path / 'mlflow.db'}"
        self.client = MlflowClient(self.uri)
        self.folder: StudyFolder = Workspace(path).study("smoke")
        with closing(Outbox(self.folder.outbox)) as outbox:
            self.runs: dict[int | None, Run] = outbox.runs()
        self.study: Study = check(load(SMOKE))
        self.data = Datasets(self.study)
        (self.version,) = self.versions()

    def versions(self) -> list[Any]:
        return sorted(self.client.search_model_versions("name = 'smoke'"), key=_number)

    def champion(self) -> Any:
        return self.client.get_model_version_by_alias("smoke", "champion")

    def winner(self, **more: Any) -> Winner:
        """The standing champion's record with changes."""
        tags = self.version.tags
        made = Winner(
            trial=int(tags["sweep.trial"]),
            metric=tags["sweep.metric"],
            value=float(tags["sweep.value"]),
            maximize=True,
            data=tags["sweep.data"],
            at_ms=0,
        )
        return replace(made, **more)

    def register(self, winner: Winner, trial: int) -> None:
        registry.register(self.client, winner, self.runs[trial], "smoke")


def _number(version: Any) -> int:
    return int(version.version)


@pytest.fixture
def registered(finished: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registered:
    made = Registered(finished, tmp_path / "results")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    return made


def test_the_winner_is_the_champion_and_predicts_from_raw_features(registered: Registered) -> None:
    version = registered.champion()
    assert int(version.version) == 1
    run = registered.client.get_run(version.run_id)
    assert run.data.tags["sweep.trial"] == version.tags["sweep.trial"]
    model = mlflow.pyfunc.load_model("models:/smoke@champion")
    config = registered.study.first_config()
    x, y = registered.data.splits(config).raw_test
    odds = model.predict(x)
    assert odds.shape == (len(y), 10)
    assert odds.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (odds.argmax(1) == y).mean() > 0.85
    assert model.metadata.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, 64)
    assert model.input_example.shape == (2, 64)
    parent = registered.client.get_run(registered.runs[None].run_id)
    (data,) = parent.inputs.dataset_inputs
    assert registered.data.digest.startswith(data.dataset.digest)


def test_no_file_of_the_model_is_a_pickle(registered: Registered, tmp_path: Path) -> None:
    run = registered.champion().run_id
    folder = Path(registered.client.download_artifacts(run, "model", str(tmp_path)))
    files = [each for each in folder.rglob("*") if each.is_file()]
    assert {each.suffix for each in files} <= {"", ".py", ".json", ".yaml", ".txt", ".npz"}
    assert not [each for each in files if each.read_bytes()[:1] == b"\x80"]
    needed = (folder / "requirements.txt").read_text().split()
    assert [each.partition("==")[0] for each in needed] == ["mlflow", "numpy"]


def test_registering_again_changes_nothing(registered: Registered) -> None:
    trial = int(registered.version.tags["sweep.trial"])
    registered.register(registered.winner(), trial)
    assert [int(each.version) for each in registered.versions()] == [1]
    assert int(registered.champion().version) == 1


@pytest.mark.parametrize(
    ("changes", "crowned", "told"),
    [
        ({"value": 0.999}, True, "champion: 0.999 against"),
        ({"value": 0.1}, False, "version 1 stays"),
        ({"value": 0.1, "maximize": False}, True, "champion: 0.1 against"),
        ({"value": 0.999, "data": "other"}, False, "not compared"),
        ({"value": 0.999, "metric": "train_accuracy"}, False, "not compared"),
    ],
)
def test_the_crown_goes_to_what_beats_the_champion_on_the_same_data(
    registered: Registered, changes: dict[str, Any], crowned: bool, told: str
) -> None:
    other = next(number for number in range(4) if number != registered.winner().trial)
    registered.register(registered.winner(**changes), other)
    _, second = registered.versions()
    assert told in second.description
    assert int(registered.champion().version) == (2 if crowned else 1)


def test_weights_of_another_trial_are_not_logged(registered: Registered, tmp_path: Path) -> None:
    data = Dataset("digits", "", [[0.0] * 64], [str(each) for each in range(10)], 0)
    with pytest.raises(logged_model.WeightsGone, match="not 99"):
        logged_model.save(99, registered.folder.winner, data, tmp_path / "model")


def test_the_model_is_served(registered: Registered, tmp_path: Path) -> None:
    """`mlflow models serve` answers a JSON request with the right digits."""
    x, y = registered.data.splits(registered.study.first_config()).raw_test
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", "models:/smoke@champion"]
    command += ["--env-manager", "local", "--host", HOST, "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it calls uvicorn by name
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=tmp_path,
            env=environment | {"MLFLOW_TRACKING_URI": registered.uri, "PATH": path},
        ) as server,
    ):
        try:
            answer = _asked(port, {"inputs": x[:50].tolist()}, tmp_path / "log")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, 9)
    digits = np.argmax(answer["predictions"], axis=1)
    assert (digits == y[:50]).mean() > 0.85
    model = mlflow.pyfunc.load_model("models:/smoke@champion")
    assert digits.tolist() == model.predict(x[:50]).argmax(1).tolist()


def _asked(port: int, question: dict[str, Any], log: Path) -> Any:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(
        f"http://{HOST}:{port}/invocations",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with suppress(ConnectionError, urllib.error.URLError), direct.open(request) as answer:
            return json.load(answer)
        time.sleep(0.2)
    raise AssertionError(log.read_text())
