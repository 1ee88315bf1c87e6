"""The outbox keeps every record, in order, once, whoever is killed when."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.recording.outbox import Backlog, Outbox, Run
from sweep.recording.records import (
    Epochs,
    LearningCurve,
    Model,
    Record,
    SweepEnded,
    SweepStarted,
    TrialEnded,
    TrialStarted,
)

HISTORY = {
    "val_loss": np.array([[0.5, np.nan], [np.inf, 0.25], [1e-300, -0.0]]),
    "health/norm of 1": np.arange(6.0).reshape(3, 2),
}
RECORDS: list[Record] = [
    SweepStarted("Which one?", "name: x\n", 1, {"host": "a"}),
    TrialStarted(3, "#3 elu", {"a.b": 0.1, "n": 3, "flag": True, "none": None}, "a: 1\n", 2),
    TrialEnded(
        3, "failed", 7, 5, "Exception", None, [], {"parameters": 10.0}, "Traceback …", "w/3"
    ),
    TrialEnded(4, "complete", 7, 5, value=0.9, values=[0.8, float("nan")], tags={"t": "ü"}),
    SweepEnded("complete", 9, {"best": float("inf")}, {"k": "v"}),
    LearningCurve(3, 5),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    box = Outbox(path)
    yield box
    box.close()


def end(trial: int, state: str = "complete") -> TrialEnded:
    return TrialEnded(trial, state, 1, 0, values=[])


def start(trial: int, name: str = "") -> TrialStarted:
    return TrialStarted(trial, name, {}, "", 0)


def epochs(trial: int, first: int, last: int) -> Epochs:
    values = np.arange(first, last + 1, dtype=np.float32)[:, None].repeat(2, axis=1)
    return Epochs(trial, first, {"val_loss": values}, 0)


def waiting(outbox: Outbox, *, late: bool = False) -> list[Record]:
    return [entry.record for entry in outbox.pending(1000, late=late)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_out_as_it_went_in(path: Path, record: Record) -> None:
    first = Outbox(path)
    first.add(record)
    first.close()
    again = Outbox(path)
    (found,) = again.pending(10, late=isinstance(record, LearningCurve))
    again.close()
    assert repr(found.record) == repr(record)  # NaN is not equal to itself


def test_a_history_comes_out_to_the_bit(outbox: Outbox) -> None:
    outbox.add(Epochs(3, 4, HISTORY, 8))
    (found,) = waiting(outbox)
    assert isinstance(found, Epochs)
    assert (found.trial, found.first_epoch, found.last_epoch, found.at_ms) == (3, 4, 6, 8)
    assert list(found.history) == list(HISTORY)
    for name, values in HISTORY.items():
        assert found.history[name].tobytes() == values.tobytes()


def test_numpy_scalars_are_plain_values(outbox: Outbox) -> None:
    params: dict[str, Any] = {"a": np.int64(3), "b": np.True_, "c": np.float32(0.5)}
    outbox.add(replace(start(1), params=params))
    (found,) = waiting(outbox)
    assert isinstance(found, TrialStarted)
    assert found.params == {"a": 3, "b": True, "c": 0.5}


@pytest.mark.parametrize(
    "history",
    [{"a": np.zeros((2, 3)), "b": np.zeros((2, 1))}, {"a": np.zeros(3)}],
    ids=["two shapes", "one axis"],
)
def test_a_history_of_the_wrong_shape_is_an_error(
    outbox: Outbox, history: dict[str, np.ndarray]
) -> None:
    with pytest.raises(ValueError, match="one shape"):
        outbox.add(Epochs(1, 1, history, 0))
    assert outbox.backlog().empty


def test_a_value_that_is_not_plain_is_an_error(outbox: Outbox) -> None:
    params: dict[str, Any] = {"a": Path("x")}
    with pytest.raises(TypeError, match="Path has no place"):
        outbox.add(replace(start(1), params=params))
    assert outbox.backlog().empty


def test_a_batch_is_committed_at_once(path: Path, outbox: Outbox) -> None:
    reader = Outbox(path)
    with outbox.batch():
        outbox.add(start(1))
        outbox.add(epochs(1, 1, 2))
        assert reader.backlog().records == 0
    assert reader.backlog().records == 2
    reader.close()


def test_a_batch_that_raises_leaves_nothing(outbox: Outbox) -> None:
    def half() -> None:
        with outbox.batch():
            outbox.add(start(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    outbox.add(start(2))
    assert waiting(outbox) == [start(2)]


def test_a_link_done_again_adds_only_what_is_new(outbox: Outbox) -> None:
    outbox.add(epochs(1, 1, 3))
    outbox.add(epochs(2, 1, 1))
    outbox.add(epochs(1, 1, 3))
    outbox.add(epochs(1, 2, 5))
    outbox.add(epochs(1, 6, 6))
    found = [r for r in outbox.records(1) if isinstance(r, Epochs)]
    assert [(r.first_epoch, r.last_epoch) for r in found] == [(1, 3), (4, 5), (6, 6)]
    values = np.concatenate([r.history["val_loss"] for r in found])
    assert values[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_trial_starts_once_and_its_last_end_stands(outbox: Outbox) -> None:
    outbox.add(start(1, "first"))
    outbox.add(start(1, "second"))
    outbox.add(start(2))
    outbox.add(end(1, "stopped"))
    outbox.add(end(1, "complete"))
    assert outbox.records(1) == [start(1, "first"), end(1, "stopped"), end(1, "complete")]
    assert outbox.ends() == {1: "complete", 2: None}


def test_entries_leave_in_order_and_pictures_last(outbox: Outbox) -> None:
    for trial in range(5):
        outbox.add(end(trial))
    first, second = outbox.pending(2)
    assert [first.record, second.record] == [end(0), end(1)]
    outbox.sent([first, second], [LearningCurve(0, 0)])
    assert waiting(outbox) == [end(2), end(3), end(4)]
    assert waiting(outbox, late=True) == [LearningCurve(0, 0)]
    assert outbox.backlog() == Backlog(records=3, pictures=1, refused=0)
    assert outbox.records(0) == [end(0)]


def test_a_refused_entry_is_set_aside_with_its_reason(outbox: Outbox) -> None:
    outbox.add(end(0))
    outbox.add(end(1))
    outbox.refuse(outbox.pending(1)[0], "no such run")
    assert waiting(outbox) == [end(1)]
    assert [(entry.record, reason) for entry, reason in outbox.refused()] == [
        (end(0), "no such run")
    ]
    assert outbox.backlog() == Backlog(records=1, pictures=0, refused=1)


def test_runs_and_facts_are_kept(path: Path, outbox: Outbox) -> None:
    sweep_id = outbox.fact("sweep_id")
    outbox.keep_run(None, Run("p", "file:p"))
    outbox.keep_run(0, Run("r", "file:r"))
    outbox.note("trouble", "down")
    again = Outbox(path)
    assert again.run_ids() == {None: "p", 0: "r"}
    assert again.runs()[0] == Run("r", "file:r")
    assert sweep_id is not None
    assert again.fact("sweep_id") == sweep_id
    assert again.fact("trouble") == "down"
    again.note("trouble", None)
    assert outbox.fact("trouble") is None
    again.close()


def test_another_server_is_sent_everything(outbox: Outbox) -> None:
    outbox.aim("http://me:secret@a:5000/x")
    outbox.add(end(0))
    outbox.keep_run(0, Run("r", "file:r"))
    outbox.sent(outbox.pending(1), [LearningCurve(0, 0)])
    outbox.aim("http://you:other@a:5000/x")
    assert outbox.backlog() == Backlog(records=0, pictures=1, refused=0)
    assert "secret" not in str(outbox.fact("tracking_uri"))
    outbox.aim("http://b:5000/x")
    assert outbox.backlog() == Backlog(records=1, pictures=0, refused=0)
    assert outbox.runs() == {}


def test_when_the_oldest_record_without_a_run_was_made(outbox: Outbox) -> None:
    assert outbox.first_without_run_ms() == 0
    for trial in (1, 2, 3):
        outbox.add(TrialStarted(trial, "", {}, "", 10 * trial))
    outbox.keep_run(1, Run("r", ""))
    assert outbox.first_without_run_ms() == 20


def test_the_weights_that_have_been_sent(outbox: Outbox) -> None:
    for trial in (0, 1, 2):
        outbox.add(replace(end(trial), weights=None if trial == 1 else f"weights/{trial}.npz"))
    outbox.sent(outbox.pending(2))
    assert outbox.weights_sent() == ["weights/0.npz"]
    for trial in (1, 2):
        outbox.add(Model(trial, f"models/{trial}.npz", 9))
    outbox.sent(outbox.pending(1, late=True))
    assert outbox.weights_sent() == ["weights/0.npz", "models/1.npz"]
    assert outbox.trials_with(Model) == {1, 2}


WRITER = """
import sys
from pathlib import Path
import numpy as np
from sweep.recording.outbox import Outbox
from sweep.recording.records import Epochs
outbox = Outbox(Path(sys.argv[1]))
for number in range(1, 100_000):
    with outbox.batch():
        for trial in (1, 2):
            outbox.add(Epochs(trial, number, {"m": np.full((1, 3), float(number))}, number))
    print(number, flush=True)
"""


def test_a_killed_driver_loses_nothing_it_had_committed(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        reader = None
        for line in writer.stdout:
            if int(line) == 50:
                reader = Outbox(path)
                reader.sent(reader.pending(20))  # while the other end writes
            if int(line) == 200:
                os.kill(writer.pid, signal.SIGKILL)
                break
        committed = [200, *map(int, writer.stdout.read().split())][-1]
    assert reader is not None
    for trial in (1, 2):
        numbers = [r.first_epoch for r in reader.records(trial) if isinstance(r, Epochs)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) in (committed, committed + 1)
    left = reader.backlog().records
    assert left == 2 * len(numbers) - 20
    reader.close()


def test_the_driver_never_waits_long_for_the_sender(path: Path) -> None:
    """Both sides commit as fast as they can; no commit is refused or lost."""
    count = 300
    errors: list[BaseException] = []

    def send() -> None:
        try:
            box = Outbox(path)
            done = 0
            while done < count:
                entries = box.pending(10)
                box.sent(entries)
                done += len(entries)
            box.close()
        except BaseException as error:
            errors.append(error)

    box = Outbox(path)
    sender = threading.Thread(target=send)
    sender.start()
    for trial in range(count):
        box.add(end(trial))
    sender.join()
    assert errors == []
    assert box.backlog() == Backlog(0, 0, 0)
    assert len(box.ends()) == count
    box.close()


def test_readers_see_what_is_committed_and_leave_nothing_behind(path: Path) -> None:
    def seen() -> int:
        with closing(Outbox(path, reading=True)) as reader:
            return reader.backlog().records

    assert seen() == 0
    assert not path.exists()
    path.touch()  # a driver that died before it had made the tables
    assert seen() == 0
    assert path.read_bytes() == b""
    with closing(Outbox(path)) as box:
        box.add(end(0))
        assert seen() == 1  # from what is written ahead
    content = path.read_bytes()
    assert seen() == 1
    assert (path.read_bytes(), [*path.parent.iterdir()]) == (content, [path])
    with (
        closing(Outbox(path, reading=True)) as reader,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        reader.add(end(1))


def test_the_driver_side_imports_no_mlflow() -> None:
    code = (
        "import sys, sweep.recording.outbox, sweep.recording.recording\n"
        "heavy = {'mlflow', 'sqlalchemy', 'matplotlib', 'optuna', 'ray', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_sweep_is_concluded_when_it_came_to_its_own_end(outbox: Outbox) -> None:
    assert not outbox.concluded()
    outbox.add(SweepStarted("Why?", "name: x", 1))
    assert not outbox.concluded()  # killed
    outbox.add(SweepEnded("stopped", 2))
    assert not outbox.concluded()  # Ctrl-C: the winner may not have been looked at
    outbox.add(SweepStarted("Why?", "name: x", 3))
    outbox.add(SweepEnded("complete", 4))
    assert outbox.concluded()
