"""What recording costs: trials sent to MLflow in SQLite, and their pictures.

A trial has 27 epochs in four links, 3 replicates, 25 params and weights of three nets of 64 × 64.
The peer is what most people write: one `mlflow.log_metric` a metric and step, to the same store
with the same PRAGMAs. Times are the recorder's own steps in this process, without its start.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
from mlflow.entities import Param

from benchmarks.report import Row, row
from sweep.recording import tracking
from sweep.recording.outbox import Outbox
from sweep.recording.projection import project
from sweep.recording.recorder import Recorder
from sweep.recording.records import Epochs, Record, SweepStarted, TrialEnded, TrialStarted

NAMES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")
LINKS = ((1, 1), (2, 3), (4, 9), (10, 27))
REPLICATES = 3
T0 = 1_700_000_000_000
TRIALS_A_SECOND, SECONDS_OF_A_CORE, SECONDS_OF_A_PICTURE = 40.0, 0.025, 0.150


class Took(NamedTuple):
    """Seconds on the clock and of a core, for one trial."""

    wall: float
    core: float


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Sending, drawing, and the plain way of writing the same."""
    trials = 60 if quick else 600
    with tempfile.TemporaryDirectory() as folder:
        sent, drawn = _recorded(Path(folder), trials)
        plain = _plain(Path(folder), 5 if quick else 30)
    rows = [
        row("sending a trial, s", sent.wall, 1 / TRIALS_A_SECOND, sent.wall * TRIALS_A_SECOND, 1.0),
        _within("sending a trial, s of a core", sent.core, SECONDS_OF_A_CORE),
        _within("its picture, s of a core", drawn.core, SECONDS_OF_A_PICTURE),
        row(
            "sending a trial, s, against mlflow.log_metric a step",
            sent.wall,
            plain.wall,
            sent.wall / plain.wall,
            1.0,
        ),
    ]
    return rows, {"mlflow": mlflow.__version__, "trials": trials}


def _within(name: str, seconds: float, budget: float) -> Row:
    return row(name, seconds, budget, seconds / budget, 1.0)


def _recorded(folder: Path, trials: int) -> tuple[Took, Took]:
    study = folder / "digits"
    (study / "weights").mkdir(parents=True)
    with closing(Outbox(study / "outbox.db")) as outbox:
        outbox.add(SweepStarted("", "name: digits\n", T0))
        recorder = Recorder(outbox, study, _store(folder), (folder / "mlartifacts").as_uri())
        recorder.step(draining=True)  # the tables and the experiment are made
        for number in range(trials):
            with outbox.batch():
                for record in _trial(study, number):
                    outbox.add(record)

        def send() -> None:
            while outbox.backlog().records:
                recorder.step(draining=True)

        def draw() -> None:
            while outbox.backlog().pictures:
                recorder.step(draining=True)

        return _timed(send, trials), _timed(draw, trials)


def _trial(study: Path, number: int) -> list[Record]:
    chance = np.random.default_rng(number)
    weights = f"weights/{number}.npz"
    np.savez(study / weights, weight=np.zeros((REPLICATES, 64, 64), np.float32))
    links = [
        Epochs(
            number,
            first,
            {name: chance.random((last - first + 1, REPLICATES)) for name in NAMES},
            T0 + 1000 * last,
        )
        for first, last in LINKS
    ]
    params = {f"model.param_{index}": index for index in range(25)}
    return [
        TrialStarted(number, f"#{number}", params, "model: {}\n", T0 + number),
        *links,
        TrialEnded(
            number, "complete", 27, T0 + 60_000, None, 0.5, [0.4, 0.5, 0.6], weights=weights
        ),
    ]


def _plain(folder: Path, trials: int) -> Took:
    """The same params and metrics, a call a value, without weights and pictures."""
    client = tracking.connect(_store(folder))
    experiment = client.create_experiment("plain")
    study = folder / "plain"
    (study / "weights").mkdir(parents=True)
    written = [project(_trial(study, number)) for number in range(trials)]

    def write() -> None:
        for changes in written:
            run_id = client.create_run(experiment).info.run_id
            params = [Param(name, value) for name, value in changes.params.items()]
            client.log_batch(run_id, params=params)
            for name, value, at_ms, step in changes.points:
                client.log_metric(run_id, name, value, at_ms, step)
            client.set_terminated(run_id)

    return _timed(write, trials)


def _store(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def _timed(work: Callable[[], None], trials: int) -> Took:
    began, used = time.perf_counter(), time.process_time()
    work()
    wall, core = time.perf_counter() - began, time.process_time() - used
    return Took(wall / trials, core / trials)
