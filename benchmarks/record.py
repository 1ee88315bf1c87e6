"""What recording costs: trials sent to MLflow in SQLite, their pictures, and a sweep's wall time.

A trial has 27 epochs in four links, 12 metrics a step, 3 replicates, 25 params and weights of three
nets of 64 × 64. The peers write its params and metrics to the same store with the same PRAGMAs:
what most people write, one `mlflow.log_metric` a metric and step, and Ray's callback for MLflow,
which does the same and asks for the run before each step. They write no weights. Times are the
recorder's own steps in this process, without its start.

The wall time is that of digits trials on a single slot, from the first trial's start to the last
one's end, so that on two cores the recorder has one for itself; the peer records nothing.
"""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
from mlflow.entities import Param

from benchmarks.child import call
from benchmarks.report import Row, row
from sweep.recording import tracking
from sweep.recording.outbox import Outbox
from sweep.recording.projection import Changes, project
from sweep.recording.recorder import Recorder
from sweep.recording.records import Epochs, Record, SweepStarted, TrialEnded, TrialStarted

NAMES = (
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    *("learning_rate", "epoch_seconds", "health/gradient_norm_1", "health/gradient_norm_2"),
)
"""The first four have a standard deviation as well: 12 metrics."""
LINKS = ((1, 1), (2, 3), (4, 9), (10, 27))
REPLICATES = 3
T0 = 1_700_000_000_000
TRIALS_A_SECOND, SECONDS_OF_A_CORE, SECONDS_OF_A_PICTURE = 40.0, 0.025, 0.150
LONGER = 1.10
"""How much longer a sweep may take for being recorded, when a core is free."""


class Took(NamedTuple):
    """Seconds on the clock and of a core, for one trial."""

    wall: float
    core: float


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Sending, drawing, and the plain way of writing the same."""
    trials = 60 if quick else 600
    with tempfile.TemporaryDirectory() as folder:
        sent, drawn = _recorded(Path(folder), trials)
        written = _written(Path(folder), 5 if quick else 30)
        plain, ray = _plain(Path(folder), written), _ray(Path(folder), written)
    rows = [
        row("sending a trial, s", sent.wall, 1 / TRIALS_A_SECOND, sent.wall * TRIALS_A_SECOND, 1.0),
        _within("sending a trial, s of a core", sent.core, SECONDS_OF_A_CORE),
        _within("its picture, s of a core", drawn.core, SECONDS_OF_A_PICTURE),
        _against("mlflow.log_metric a step", sent, plain),
        _against("Ray's MLflowLoggerCallback", sent, ray),
        _wall(30 if quick else 200, rounds=1 if quick else 5),
    ]
    return rows, {"mlflow": mlflow.__version__, "trials": trials}


def _within(name: str, seconds: float, budget: float) -> Row:
    return row(name, seconds, budget, seconds / budget, 1.0)


def _against(peer: str, ours: Took, theirs: Took) -> Row:
    ratio = ours.wall / theirs.wall
    return row(f"sending a trial, s, against {peer}", ours.wall, theirs.wall, ratio, 1.0)


def _wall(trials: int, rounds: int) -> Row:
    """The same sweep with and without a record, in turn."""
    pairs = []
    for _ in range(rounds):
        pair = []
        for function in ("product", "unrecorded"):
            with tempfile.TemporaryDirectory() as folder:
                took = call("benchmarks.own", function, trials, True, cwd=Path(folder))
                pair.append(float(took["seconds"]))
        pairs.append(pair)
    recorded, bare = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(with_it / without for with_it, without in pairs)
    return row(f"{trials} trials on one slot, s, against no record", recorded, bare, ratio, LONGER)


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


def _written(folder: Path, trials: int) -> list[Changes]:
    """What the peers write of trials."""
    study = folder / "plain"
    (study / "weights").mkdir(parents=True)
    return [project(_trial(study, number)) for number in range(trials)]


def _plain(folder: Path, written: list[Changes]) -> Took:
    """Params in a batch, metrics with a call each."""
    client = tracking.connect(_store(folder))
    experiment = client.create_experiment("plain")

    def write() -> None:
        for changes in written:
            run_id = client.create_run(experiment).info.run_id
            params = [Param(name, value) for name, value in changes.params.items()]
            client.log_batch(run_id, params=params)
            for name, value, at_ms, step in changes.points:
                client.log_metric(run_id, name, value, at_ms, step)
            client.set_terminated(run_id)

    return _timed(write, len(written))


@dataclass(eq=False)
class Trial:
    """Of a trial of Ray Tune, what its callback for MLflow looks at."""

    config: dict[str, str]


def _ray(folder: Path, written: list[Changes]) -> Took:
    """Ray Tune's callback, with the calls that Ray Tune makes."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    callback = MLflowLoggerCallback(_store(folder), experiment_name="ray")
    callback.setup()
    trials = []
    for changes in written:
        steps: dict[int, dict[str, float]] = defaultdict(dict)
        for name, value, _, step in changes.points:
            steps[step][name] = value
        trials.append((Trial(changes.params), steps))

    def write() -> None:
        for trial, steps in trials:
            callback.log_trial_start(trial)
            for step, metrics in steps.items():
                callback.log_trial_result(step, trial, {**metrics, "training_iteration": step})
            callback.log_trial_end(trial)

    return _timed(write, len(written))


def _store(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def _timed(work: Callable[[], None], trials: int) -> Took:
    began, used = time.perf_counter(), time.process_time()
    work()
    wall, core = time.perf_counter() - began, time.process_time() - used
    return Took(wall / trials, core / trials)
