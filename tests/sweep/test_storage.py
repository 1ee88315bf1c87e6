import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from sweep.search.storage import RECORD, Storage
from sweep.search.trial import Event, State, Trial

DISTRIBUTIONS = {
    "rate": FloatDistribution(1e-5, 1.0, log=True),
    "width": IntDistribution(8, 128, step=8),
    "kind": CategoricalDistribution(("a", 1, 2.5, True, None)),
    "unused": FloatDistribution(0, 1),
}


def trial(number: int, **params: Any) -> Trial:
    return Trial(number, {"rate": 0.1 / (number + 3), "width": 16, "kind": None, **params}, {})


def end(storage: Storage, one: Trial, event: Event, values: list[float]) -> None:
    one.happens(Event.SUBMIT)
    one.happens(event, f"{event} it was")
    one.epoch, one.values, one.metrics = 9, values, {"val_loss": values}
    storage.end(one)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trials.log"


def filled(path: Path) -> list[FrozenTrial]:
    """A study with a trial in each state, the last one running."""
    storage = Storage(path, "s", directions=["maximize"])
    for number in range(5):
        storage.start(trial(number), DISTRIBUTIONS)
        storage.report(number, 1, 0.5)
        storage.report(number, 3, 0.25 + number)
    end(storage, trial(0), Event.FINISH, [0.5, 1 / 3])
    end(storage, trial(1), Event.PRUNE, [0.1, 0.2])
    end(storage, trial(2), Event.RAISE, [])
    end(storage, trial(3), Event.STOP, [])
    storage.note("seen", {"a": [1, 2]})
    return storage.trials()


def test_a_trial_survives_reopening(path: Path) -> None:
    before = filled(path)
    storage = Storage(path, "s")
    assert storage.trials() == before
    complete, pruned, failed, stopped, running = storage.trials()
    assert [each.number for each in storage.trials()] == [0, 1, 2, 3, 4]
    assert complete.params == {"rate": 0.1 / 3, "width": 16, "kind": None}
    assert complete.state is TrialState.COMPLETE
    assert complete.values == [(0.5 + 1 / 3) / 2]
    assert complete.intermediate_values == {1: 0.5, 3: 0.25}
    assert complete.user_attrs[RECORD] == {
        "state": "complete",
        "reason": "finish it was",
        "epoch": 9,
        "worker_seconds": 0.0,
        "timings": {},
        "value": (0.5 + 1 / 3) / 2,
        "values": [0.5, 1 / 3],
        "metrics": {"val_loss": [0.5, 1 / 3]},
        "environment": {},
        "diagnosis": [],
    }
    assert (pruned.state, pruned.values) == (TrialState.PRUNED, None)
    assert pruned.user_attrs[RECORD]["reason"] == "prune it was"
    assert failed.state is TrialState.FAIL
    assert failed.user_attrs[RECORD]["state"] == "failed"
    assert stopped.user_attrs[RECORD]["state"] == "stopped"
    assert running.state is TrialState.RUNNING
    assert RECORD not in running.user_attrs
    assert storage.notes() == {"seen": {"a": [1, 2]}}


def test_only_active_parameters_are_stored(path: Path) -> None:
    (each, *_) = filled(path)
    assert set(each.distributions) == {"rate", "width", "kind"}


def test_a_label_keeps_its_type(path: Path) -> None:
    storage = Storage(path, "s", directions=["maximize"])
    kinds: list[Any] = ["a", 1, 2.5, True, None]
    del kinds[3]  # for Optuna True is 1
    for number, kind in enumerate(kinds):
        storage.start(trial(number, kind=kind), DISTRIBUTIONS)
    found = [each.params["kind"] for each in Storage(path, "s").trials()]
    assert [(kind, type(kind)) for kind in found] == [(kind, type(kind)) for kind in kinds]


def test_a_writer_goes_on_where_another_ended(path: Path) -> None:
    filled(path)
    storage = Storage(path, "s", directions=["maximize"])
    storage.report(4, 9, 0.75)
    end(storage, trial(4), Event.FINISH, [0.75])
    storage.start(trial(5), DISTRIBUTIONS)
    found = Storage(path, "s").trials()
    assert [each.state for each in found[4:]] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert found[4].intermediate_values == {1: 0.5, 3: 4.25, 9: 0.75}


def test_a_value_that_is_reported_again_takes_the_place_of_the_first(path: Path) -> None:
    storage = Storage(path, "s", directions=["maximize"])
    storage.start(trial(0), DISTRIBUTIONS)
    storage.report(0, 1, 0.5)
    storage.report(0, 1, 0.25)
    (found,) = Storage(path, "s").trials()
    assert found.intermediate_values == {1: 0.25}


def test_values_that_are_no_numbers_are_kept(path: Path) -> None:
    storage = Storage(path, "s", directions=["maximize"])
    storage.start(trial(0), DISTRIBUTIONS)
    end(storage, trial(0), Event.DIVERGE, [math.nan, math.inf])
    record = Storage(path, "s").trials()[0].user_attrs[RECORD]
    assert math.isnan(record["values"][0])
    assert record["values"][1] == math.inf


def test_an_ended_trial_is_not_changed_any_more(path: Path) -> None:
    filled(path)
    storage = Storage(path, "s", directions=["maximize"])
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.report(0, 9, 0.1)
    again = trial(0)
    again.state = State.FAILED
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.end(again)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 1.0])
def test_a_torn_last_line_is_mended_and_nothing_before_it_is_lost(path: Path, kept: float) -> None:
    """As kill -9 in the middle of a write leaves it; 1.0 lacks nothing but the end of the line."""
    before = filled(path)
    whole = path.read_bytes()
    storage = Storage(path, "s", directions=["maximize"])
    storage.start(trial(5), DISTRIBUTIONS)
    line = path.read_bytes()[len(whole) : -1]
    path.write_bytes(whole + line[: int(len(line) * kept)])

    assert Storage(path, "s").trials() == before  # a reader leaves the file as it is
    again = Storage(path, "s", directions=["maximize"])
    assert again.trials() == before
    assert path.read_bytes().startswith(whole)
    again.start(trial(5), DISTRIBUTIONS)
    assert len(Storage(path, "s").trials()) == 6


def test_a_last_line_of_zeros_is_mended(path: Path) -> None:
    """As some file systems leave it when the power fails."""
    before = filled(path)
    with path.open("ab") as file:
        file.write(bytes(100))
    assert Storage(path, "s", directions=["maximize"]).trials() == before


def test_a_study_whose_making_was_cut_off_is_made_again(path: Path) -> None:
    path.touch()
    with pytest.raises(FileNotFoundError):
        Storage(path, "s")
    assert Storage(path, "s", directions=["maximize"]).trials() == []
    path.write_bytes(path.read_bytes()[:20])
    assert Storage(path, "s", directions=["maximize"]).trials() == []


def test_a_writer_that_is_killed_loses_nothing_it_was_told_is_stored(path: Path) -> None:
    code = f"""
import os, signal
from sweep.search.storage import Storage
from sweep.search.trial import Trial
from optuna.distributions import FloatDistribution
storage = Storage(__import__("pathlib").Path({str(path)!r}), "s", directions=["maximize"])
for number in range(20):
    storage.start(Trial(number, {{"x": number / 20}}, {{}}), {{"x": FloatDistribution(0, 1)}})
    storage.report(number, 1, number)
print("stored", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert child.stdout == "stored\n", child.stderr
    storage = Storage(path, "s", directions=["maximize"])  # the lock went with its holder
    assert [each.intermediate_values for each in storage.trials()] == [{1: n} for n in range(20)]
    storage.report(0, 3, 0.5)


def test_what_was_reported_is_on_the_disk_when_that_matters(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(path, "s", directions=["maximize"])
    storage.start(trial(0), DISTRIBUTIONS)
    safe: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: safe.append(os.fstat(file).st_size))
    storage.report(0, 1, 0.5)
    assert safe == []
    storage.sync()
    storage.sync()
    assert safe == [path.stat().st_size]
    storage.report(0, 3, 0.5)
    end(storage, trial(0), Event.FINISH, [0.5, 0.5])
    storage.sync()
    assert len(safe) == 2


def test_a_second_writer_is_noticed(path: Path) -> None:
    first = Storage(path, "s", directions=["maximize"])
    second = Storage(path, "s", directions=["maximize"])
    first.start(trial(0), DISTRIBUTIONS)
    with pytest.raises(RuntimeError, match="trial 0 was stored as 1: a second writer"):
        second.start(trial(0), DISTRIBUTIONS)


def test_a_reader_sees_what_a_writer_has_written_so_far(path: Path) -> None:
    writer = Storage(path, "s", directions=["maximize"])
    reader = Storage(path, "s")
    assert reader.trials() == []
    writer.start(trial(0), DISTRIBUTIONS)
    assert [each.number for each in reader.trials()] == [0]
    writer.report(0, 1, 0.5)
    assert reader.trials()[0].intermediate_values == {1: 0.5}
    writer.note("seen", 1)
    assert reader.notes() == {"seen": 1}


def test_reading_writes_nothing(path: Path) -> None:
    filled(path)
    for each in path.parent.iterdir():
        each.chmod(0o400)
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    Storage(path, "s").trials()
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before


def test_a_study_that_is_not_there(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Storage(path, "s")
    assert list(path.parent.iterdir()) == []


def test_what_is_stored_is_an_ordinary_optuna_journal(path: Path) -> None:
    """So that optuna-dashboard can show it; and there is no pickle in it."""
    filled(path)
    study = optuna.load_study(
        study_name="s", storage=optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    )
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    assert study.best_trial.number == 0
    assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines())


def test_every_state_that_a_trial_can_end_in_is_stored(path: Path) -> None:
    storage = Storage(path, "s", directions=["minimize"])
    events = {
        State.COMPLETE: Event.FINISH,
        State.PRUNED: Event.DIVERGE,
        State.FAILED: Event.RAISE,
        State.STOPPED: Event.STOP,
    }
    for number, event in enumerate(events.values()):
        storage.start(trial(number), DISTRIBUTIONS)
        end(storage, trial(number), event, [0.5])
    found = [each.user_attrs[RECORD]["state"] for each in Storage(path, "s").trials()]
    assert found == [state.value for state in events]
