"""Configurations that people want tried, and those that need no training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sweep.__main__ import cli
from sweep.queue import Queue
from sweep.search.search import Search
from sweep.search.storage import Storage
from sweep.search.trial import Event, State, Trial
from sweep.spec.point import read_point
from sweep.spec.study import Study, check
from sweep.workspace import Workspace
from tests.sweep.designs import CLAIM
from tests.sweep.fakes import Sweep, values
from trainer.rules import ConfigError

MakeStudy = Callable[..., Study]
SPACE: dict[str, Any] = {
    "model": {
        "hidden": {"choose": [[8], [16, 8]]},
        "activation": {"choose": ["relu", {"elu": {"alpha": {"low": 0.1, "high": 1}}}]},
        "dropout": {"low": 0, "high": 0.5, "step": 0.1},
    },
    "training": {"learning_rate": {"low": 1e-4, "high": 0.1, "log": True}},
}


@pytest.fixture
def study(make_study: MakeStudy) -> Study:
    return make_study(**SPACE, search={"trials": 6})


class Folder:
    """A study's storage and queue, opened as often as drivers come and go."""

    def __init__(self, path: Path, study: Study) -> None:
        self.path, self.study = path, study
        self.queue = Queue(path / "queue")

    def search(self) -> Search:
        study = self.study
        storage = Storage(self.path / "trials.log", study.name, directions=study.directions)
        return Search(study, storage, self.queue)


@pytest.fixture
def folder(tmp_path: Path, study: Study) -> Folder:
    return Folder(tmp_path, study)


def asked(search: Search) -> Trial:
    trial = search.ask()
    assert trial is not None
    return trial


def ended(search: Search, value: float = 0.5) -> Trial:
    trial = asked(search)
    search.start(trial)
    trial.happens(Event.SUBMIT)
    trial.epoch, trial.values = 9, [value]
    trial.metrics = {"val_accuracy": [value]}
    search.report(trial)
    trial.happens(Event.FINISH)
    search.end(trial)
    return trial


# Points


def test_a_point_is_named_as_the_search_space_names_it(study: Study) -> None:
    given = {
        "model.hidden": [16, 8],
        "model.activation": "elu",
        "model.activation.elu.alpha": 1,
        "model.dropout": 0.3,
        "training.learning_rate": 0.01,
    }
    assert read_point(study, given) == given | {"model.hidden": "[16, 8]"}
    assert read_point(study, {}) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model.dropuot": 0.1}, "model.dropuot: is not a field that is searched (did you mean"),
        ({"model.dropout": 0.25}, "model.dropout: must be an option of the field: 0.0, 0.1"),
        ({"model.activation": "tanh"}, "model.activation: must be an option of the field: relu"),
        ({"training.learning_rate": 1}, "training.learning_rate: must be a number from 0.0001"),
        ({"training.learning_rate": True}, "training.learning_rate: must be a number from"),
        ({"model.activation.elu.alpha": 0.5}, "model.activation.elu.alpha: exists only with an"),
        (
            {"model.activation": "relu", "model.activation.elu.alpha": 0.5},
            "model.activation.elu.alpha: exists only with an option of another field",
        ),
    ],
)
def test_what_is_no_point(study: Study, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_point(study, given)
    (problem,) = caught.value.problems
    assert str(problem).startswith(said)


# The queue


def test_what_is_wanted_is_asked_for_next(folder: Folder) -> None:
    search = folder.search()
    ended(search)
    folder.queue.put({"model.dropout": 0.3, "model.activation": "relu"})
    folder.queue.put({"model.dropout": 0.1})
    first, second, third = (asked(search) for _ in range(3))
    assert (first.params["model.dropout"], first.params["model.activation"]) == (0.3, "relu")
    assert second.params["model.dropout"] == 0.1
    assert set(first.params) >= {"model.hidden", "training.learning_rate"}
    assert (first.number, second.number, third.wanted) == (1, 2, None)
    assert len(folder.queue) == 2  # until they are on record
    search.start(first)
    assert len(folder.queue) == 1


def test_no_crash_loses_what_is_wanted_or_tries_it_twice(folder: Folder) -> None:
    folder.queue.put({"model.dropout": 0.3})
    asked(folder.search())  # the driver dies before the trial is on record
    search = folder.search()
    trial = asked(search)
    assert trial.params["model.dropout"] == 0.3
    search._storage.start(trial, search._distributions)  # it dies before the entry is dropped
    assert len(folder.queue) == 1
    search = folder.search()
    assert len(folder.queue) == 0
    again = asked(search)
    assert (again.number, again.params) == (0, trial.params)  # left running
    assert asked(search).wanted is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Expecting value"),
        (b'{"model.dropout": 0.', "Expecting"),
        (b"\xff\xfe", "can't decode byte"),
        (b"[" * 100_000, "recursion"),
        (b"[0.1]", "must be a mapping of parameters, got list"),
        (b'{"model.dropout": ' + b"[" * 500 + b"]" * 500 + b"}", "recursion"),
        (b'{"model.dropuot": 0.1}', "model.dropuot: is not a field that is searched"),
        (b'{"model.dropout": NaN}', "model.dropout: must be an option of the field"),
    ],
)
def test_what_can_not_be_tried_is_set_aside(
    folder: Folder, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.queue.put({"model.dropout": 0.1})
    (folder.path / "queue" / "0-damaged.json").write_bytes(content)
    folder.queue.put({"model.dropout": 0.3})
    search = folder.search()
    assert [asked(search).params["model.dropout"] for _ in range(2)] == [0.1, 0.3]
    assert asked(search).wanted is None
    aside = folder.path / "queue" / "0-damaged.refused"
    assert aside.read_bytes() == content
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"warning: {aside} is not tried: ")
    assert said in told
    assert len(folder.queue) == 2


def test_a_queue_that_can_not_be_written(tmp_path: Path, study: Study) -> None:
    target = Workspace(tmp_path).study(study.name)
    target.create(study.text)
    target.queue.touch()
    arguments = ["enqueue", study.name, "--set", "model.dropout=0", "--workspace", str(tmp_path)]
    done = CliRunner().invoke(cli, arguments)
    assert (done.exit_code, done.output) == (1, f"{target.queue}: cannot be written: File exists\n")


def test_enqueue_from_the_command_line(tmp_path: Path, study: Study) -> None:
    target = Workspace(tmp_path).study(study.name)
    target.create(study.text)
    more = ["--workspace", str(tmp_path)]

    def enqueue(*assignments: str) -> Any:
        sets = [part for each in assignments for part in ("--set", each)]
        return CliRunner().invoke(cli, ["enqueue", study.name, *sets, *more])

    done = enqueue("model.hidden=[8]", "model.dropout=0.2")
    assert (done.exit_code, done.output.splitlines()[0]) == (0, f"1 in the queue of {study.name}")
    assert done.output.splitlines()[1].endswith(f"--trials +1 --workspace {tmp_path}")
    wanted = Queue(target.queue).first()
    assert wanted is not None
    assert wanted.point == {"model.hidden": "[8]", "model.dropout": 0.2}
    for bad in ("model.dropout=2", "model.dropout", "model.activation=elu: ["):
        assert enqueue(bad).exit_code == 2
    assert len(Queue(target.queue)) == 1


@pytest.mark.parametrize("search", [{"sampler": "qmc"}, {"reproducible": True}])
def test_a_study_that_says_itself_what_is_tried(
    tmp_path: Path, make_study: MakeStudy, search: dict[str, Any]
) -> None:
    study = make_study(**SPACE, search=search)
    Workspace(tmp_path).study(study.name).create(study.text)
    arguments = ["enqueue", study.name, "--set", "model.dropout=0", "--workspace", str(tmp_path)]
    assert CliRunner().invoke(cli, arguments).exit_code == 2


# Twins


def test_a_configuration_that_is_complete_is_known(folder: Folder) -> None:
    search = folder.search()
    first = ended(search, 0.75)
    point = dict(first.params)
    for known in (search, folder.search()):  # the same driver, and a later one
        twin = known.twin(Trial(7, point, {}))
        assert twin is not None
        assert (twin.number, twin.values, twin.epoch) == (0, [0.75], 9)
        assert twin.metrics == {"val_accuracy": [0.75]}
        assert known.twin(Trial(7, point | {"training.learning_rate": 0.05}, {})) is None


def test_what_other_code_has_trained_is_no_twin(folder: Folder) -> None:
    first = ended(folder.search())
    study = folder.study
    storage = Storage(folder.path / "trials.log", study.name, directions=study.directions)
    assert Search(study, storage, version="new").twin(Trial(7, first.params, {})) is None
    assert Search(study, storage).twin(Trial(7, first.params, {})) is not None


@pytest.mark.parametrize(
    "judged",
    [
        {"objective": {"metric": "epoch_seconds"}},
        {"constraints": ["epoch_seconds <= 1"]},
        {"claims": [CLAIM | {"by": "epoch_seconds"}]},
    ],
)
def test_what_depends_on_the_clock_is_trained_again(tmp_path: Path, judged: dict[str, Any]) -> None:
    model = {"batch_norm": {"choose": ["after", "before"]}}
    study = check({"name": "a", "model": model, "search": {"sampler": "grid"}, **judged})
    search = Folder(tmp_path, study).search()
    assert search.twin(Trial(7, ended(search).params, {})) is None


def test_a_reproducible_study_knows_a_twin_as_late_as_a_result(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study(**SPACE, search={"reproducible": True, "lag": 3})
    search = Folder(tmp_path, study).search()
    params = ended(search).params
    assert search.twin(Trial(2, params, {})) is None
    assert search.twin(Trial(3, params, {})) is not None


def test_seeds_of_another_look_are_no_twins(tmp_path: Path) -> None:
    space = {"model": {"dropout": {"choose": [0, 0.5]}}}
    design = {"sampler": "factorial", "trials": 2, "looks": 2}
    search = Folder(tmp_path, check({"name": "a", **space, "search": design})).search()
    params = ended(search).params
    assert search.twin(Trial(1, params, {})) is not None
    assert search.twin(Trial(2, params, {})) is None  # of the second look


def test_a_twin_is_never_trained() -> None:
    sweep = Sweep(values(0.2, 0.7, 0.5, 0.9), trials=5, slots=1)
    sweep.search.twins = {2: 1, 4: 1}
    sweep.run()
    assert sweep.states() == [State.COMPLETE] * 5
    assert {link.number for link in sweep.runner.links} == {0, 1, 3}
    assert sweep.records.endings[2][1] == "the same as trial 1"
    assert sweep.search.trials[4].value == 0.7
    assert sweep.records.best == [0, 1, 3]  # of equals the first is the best
    assert set(sweep.records.weights) == {0, 1, 3}


def test_a_stop_ends_a_row_of_twins() -> None:
    """A small space that is used up gives twins alone; a user must get a word in."""
    sweep = Sweep(trials=50, slots=1, interrupts=lambda sweep: len(sweep.of("ask")) >= 10)
    sweep.search.twins = dict.fromkeys(range(1, 50), 0)
    sweep.run()
    assert len(sweep.records.endings) <= 11
