import csv
import json
import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sweep.__main__ import cli
from sweep.answers.results import TEST, Results, finite, read
from sweep.recording.outbox import Outbox, Run
from sweep.recording.records import LearningCurve, TrialStarted
from sweep.search.samplers import distribution
from sweep.search.storage import Storage
from sweep.search.trial import Event, Trial
from sweep.spec.study import Study
from sweep.workspace import StudyFolder, Workspace

MakeStudy = Callable[..., Study]


class Written:
    """A study's folder as a driver leaves it."""

    def __init__(self, path: Path, study: Study) -> None:
        self.study = study
        self.folder: StudyFolder = Workspace(path).study(study.name)
        self.folder.create(study.text)
        self.storage = Storage(self.folder.trials, study.name, directions=study.directions)
        self.distributions = {each.name: distribution(each) for each in study.parameters()}
        self.number = 0

    def start(self) -> Trial:
        params = {"model.dropout": self.number / 100}
        trial = Trial(self.number, params, self.study.config(params))
        self.number += 1
        self.storage.start(trial, self.distributions)
        trial.happens(Event.SUBMIT)
        return trial

    def end(self, event: Event, *values: float, epoch: int = 27, reason: str | None = None) -> None:
        trial = self.start()
        trial.epoch, trial.values = epoch, list(values)
        if values and math.isfinite(trial.value):
            self.storage.report(trial.number, epoch, trial.value)
        trial.happens(event, reason)
        self.storage.end(trial)

    def read(self) -> Results:
        return read(self.folder)

    def json(self) -> dict[str, Any]:
        """What `show --json` prints, read back by a parser that knows no NaN."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        text = json.dumps(self.read().full())
        found: dict[str, Any] = json.loads(text, parse_constant=refuse)
        return found


@pytest.fixture
def written(tmp_path: Path, make_study: MakeStudy) -> Written:
    space = {"model": {"dropout": {"low": 0, "high": 0.9}}}
    return Written(tmp_path, make_study(question="Why?", **space, search={"trials": 6}))


def fill(written: Written) -> None:
    written.end(Event.FINISH, 0.5, 0.7)
    written.end(Event.PRUNE, 0.4, 0.6, epoch=3, reason="asha at epoch 3")
    written.end(Event.RAISE, reason="exception", epoch=0)
    written.end(Event.DIVERGE, math.nan, 0.5, epoch=2, reason="diverged at epoch 2")
    written.end(Event.STOP, reason="stopped by the user", epoch=0)
    written.end(Event.FINISH, 0.8, 0.9)


def test_the_trials_of_a_study(written: Written) -> None:
    fill(written)
    running = written.start()
    written.storage.report(running.number, 1, 0.3)
    written.storage.report(running.number, 3, 0.4)
    assert written.json()["trials"][6]["state"] == "waiting"  # nobody is there to run it
    with written.folder.held():
        found = written.json()["trials"]
    assert [each.pop("seconds") is None for each in found] == [False] * 6 + [True]
    assert found[0] == {
        "number": 0,
        "state": "complete",
        "reason": None,
        "params": {"model.dropout": 0.0},
        "value": pytest.approx(0.6),
        "values": [0.5, 0.7],
        "epoch": 27,
        "mlflow_run_id": None,
        "metrics": {},
        "environment": {},
        "diagnosis": [],
        "parent": None,
        "violated": [],
        "worker_seconds": 0.0,
        "timings": {},
    }
    assert [each["number"] for each in found] == list(range(7))
    assert [each["state"] for each in found] == [
        "complete",
        "pruned",
        "failed",
        "pruned",
        "stopped",
        "complete",
        "running",
    ]
    assert [each["reason"] for each in found] == [
        None,
        "asha at epoch 3",
        "exception",
        "diverged at epoch 2",
        "stopped by the user",
        None,
        None,
    ]
    assert found[1]["value"] == pytest.approx(0.5)
    assert (found[2]["value"], found[2]["values"]) == (None, [])
    assert (found[3]["value"], found[3]["values"]) == (None, [None, 0.5])  # NaN has no JSON
    assert (found[6]["value"], found[6]["values"], found[6]["epoch"]) == (0.4, [], 3)


def test_the_study_as_an_object(written: Written) -> None:
    fill(written)
    counts = {
        "waiting": 0,
        "running": 0,
        "complete": 2,
        "pruned": 2,
        "failed": 1,
        "stopped": 1,
    }
    found = written.json()
    assert isinstance(found.pop("trials"), list)
    assert found == {
        "name": "test",
        "state": "interrupted",  # one of the six was stopped
        "question": "Why?",
        "metric": "val_accuracy",
        "direction": "maximize",
        "best": 5,
        "value": pytest.approx(0.85),
        "counts": counts,
        "test": None,
        "looks_at_test": [],
        "mlflow_experiment_id": None,
        "unrecorded": {"records": 0, "pictures": 0, "refused": 0},
    }
    summary = written.read().summary()
    assert summary["trials"] == counts
    assert {"name", "state", "question", "best", "value"} <= set(summary)


@pytest.mark.parametrize(
    ("direction", "order"), [("maximize", [3, 0, 2, 1]), ("minimize", [1, 0, 2, 3])]
)
def test_the_ranking(
    tmp_path: Path, make_study: MakeStudy, direction: str, order: list[int]
) -> None:
    study = make_study(
        model={"dropout": {"low": 0, "high": 0.9}}, objective={"direction": direction}
    )
    written = Written(tmp_path, study)
    for value in (0.5, 0.1, 0.5, 0.9):
        written.end(Event.FINISH, value)
    written.end(Event.PRUNE, 1.0 if study.maximize else 0.0)
    written.end(Event.DIVERGE, math.nan)
    results = written.read()
    assert [each.number for each in results.ranked()] == order
    assert results.best == results.ranked()[0]
    assert results.summary()["best"] == order[0]
    assert written.json()["direction"] == direction


def test_the_trials_as_a_table(tmp_path: Path, make_study: MakeStudy) -> None:
    bounds = {"constraints": ["parameters <= 5", "val_loss <= 0.1"], "search": {"trials": 1}}
    found = Written(tmp_path, make_study(model={"dropout": {"low": 0, "high": 0.9}}, **bounds))
    trial = found.start()
    trial.epoch, trial.values = 9, [0.5]
    trial.excess = {"parameters <= 5": 3.0, "val_loss <= 0.1": 0.2}
    trial.happens(Event.FINISH)
    found.storage.end(trial)
    shown = CliRunner().invoke(cli, ["show", "test", "--csv", "--workspace", str(tmp_path)])
    (row,) = csv.DictReader(shown.output.splitlines())
    assert (row["violated"], row["diagnosis"]) == ("parameters <= 5; val_loss <= 0.1", "")
    assert (row["value"], row["value_0"], row["model.dropout"]) == ("0.5", "0.5", "0.0")


def test_several_objectives_have_columns_of_their_own(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    both = [{"metric": "val_accuracy"}, {"metric": "parameters"}]
    found = Written(
        tmp_path, make_study(model={"dropout": {"low": 0, "high": 0.9}}, objective=both)
    )
    trial = found.start()
    trial.epoch, trial.values, trial.others = 9, [0.5], [650.0]
    trial.happens(Event.FINISH)
    found.storage.end(trial)
    found.start()
    shown = CliRunner().invoke(cli, ["show", "test", "--csv", "--workspace", str(tmp_path)])
    rows = list(csv.DictReader(shown.output.splitlines()))
    assert [(row["val_accuracy"], row["parameters"]) for row in rows] == [
        ("0.5", "650.0"),
        ("", ""),
    ]
    assert "value" not in rows[0]


def test_a_study_without_trials(written: Written) -> None:
    found = written.json()
    assert (found["state"], found["best"], found["value"]) == ("interrupted", None, None)
    assert found["trials"] == []


def test_a_study_that_was_stored_and_never_run(tmp_path: Path, make_study: MakeStudy) -> None:
    folder = Workspace(tmp_path).study("test")
    folder.create(make_study().text)
    before = set(folder.path.rglob("*"))
    assert read(folder).summary()["state"] == "interrupted"
    assert set(folder.path.rglob("*")) == before  # reading leaves nothing behind


def test_a_study_whose_driver_died_while_it_made_the_storage(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    folder = Workspace(tmp_path).study("test")
    folder.create(make_study().text)
    folder.trials.touch()
    assert read(folder).trials == []


def test_a_study_that_used_up_its_budget_is_finished(tmp_path: Path, make_study: MakeStudy) -> None:
    space = {"model": {"dropout": {"low": 0, "high": 0.9}}}
    written = Written(tmp_path, make_study(**space, search={"trials": 6, "worker_seconds": 5}))
    for seconds, state in ((4.0, "interrupted"), (2.0, "finished")):
        trial = written.start()
        trial.epoch, trial.values, trial.worker_seconds = 27, [0.5], seconds
        trial.happens(Event.FINISH)
        written.storage.end(trial)
        assert written.read().state == state
    written.start()
    assert written.read().state == "interrupted"  # it must still end


def test_the_state_of_a_study(written: Written) -> None:
    with written.folder.held():
        assert written.read().state == "running"
    assert written.read().state == "interrupted"
    for _ in range(5):
        written.end(Event.RAISE)
    assert written.read().state == "interrupted"
    written.end(Event.STOP)
    assert written.read().state == "interrupted"
    written.end(Event.PRUNE, 0.5)
    assert written.read().state == "failed"  # all ended, none complete
    written.end(Event.FINISH, 0.5)
    assert written.read().state == "finished"


def test_looks_at_the_test_split(written: Written) -> None:
    fill(written)

    def look(trial: int, mean: float) -> dict[str, Any]:
        return {"trial": trial, "mean": mean, "sd": 0.0, "values": [mean], "at": "now"}

    written.storage.note(TEST, [look(0, 0.5)])
    assert written.read().test is None  # of an earlier winner
    written.storage.note(TEST, [look(0, 0.5), look(5, 0.8)])
    found = written.json()
    assert found["test"] == {"mean": 0.8, "sd": 0.0, "values": [0.8]}
    assert [each["trial"] for each in found["looks_at_test"]] == [0, 5]


def test_the_ids_of_runs_come_from_the_outbox(written: Written) -> None:
    fill(written)
    with closing(Outbox(written.folder.outbox)) as outbox:
        outbox.keep_run(None, Run("parent", "uri"))
        outbox.keep_run(0, Run("first", "uri"))
        outbox.keep_run(5, Run("last", "uri"))
        outbox.note("experiment_id", "7")
    found = written.json()
    assert found["mlflow_experiment_id"] == "7"
    assert [each["mlflow_run_id"] for each in found["trials"]] == ["first", *[None] * 4, "last"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, 0.5), (0.0, 0.0), (None, None), (math.nan, None), (math.inf, None), (-math.inf, None)],
)
def test_what_has_no_number_in_json(value: float | None, shown: float | None) -> None:
    assert finite(value) == shown


def test_what_mlflow_has_not_got_is_told(written: Written) -> None:
    written.start()
    with closing(Outbox(written.folder.outbox)) as outbox:
        for number in range(3):
            outbox.add(TrialStarted(number, "", {}, "", 0))
        outbox.add(LearningCurve(0, 0))
        outbox.refuse(outbox.pending(1)[0], "Traceback …\n  line\nValueError: no\n")
        assert outbox.reasons() == ["ValueError: no"]
    results = written.read()
    assert str(results.backlog) == "records 2, pictures 1, refused 1"
    assert results.summary()["unrecorded"] == {"records": 2, "pictures": 1, "refused": 1}
