"""A study with records for MLflow, and what MLflow then holds of it."""

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from sweep.recording import recorder
from sweep.recording.outbox import Backlog, Outbox
from sweep.recording.recording import Recording
from sweep.recording.records import Epochs, Scalar, TrialEnded, TrialStarted

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


def wait_for(condition: Callable[[], bool], seconds: float = 110) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ignore(_: Backlog) -> None:
    pass
