import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from sweep.search.sampler import Params
from sweep.search.samplers import OptunaSampler
from sweep.search.search import Search
from sweep.search.storage import Storage
from sweep.search.trial import Event, State, Trial
from sweep.spec.study import Study, check

MakeStudy = Callable[..., Study]
ACTIVATION = {"choose": ["relu", {"elu": {"alpha": {"low": 0.1, "high": 1}}}]}
SPACE = {
    "model": {"activation": ACTIVATION, "dropout": {"low": 0, "high": 0.5}},
    "training": {"learning_rate": {"low": 1e-4, "high": 0.1, "log": True}},
}
DESIGN = {
    "model": {
        "activation": {"choose": ["relu", "tanh"]},
        "dropout": {"low": 0, "high": 0.4, "step": 0.1},
    }
}


class Folder:
    """A study's storage, opened as often as drivers come and go."""

    def __init__(self, path: Path, study: Study) -> None:
        self.path = path / "trials.log"
        self.study = study

    def search(self) -> Search:
        storage = Storage(self.path, self.study.name, directions=self.study.directions)
        return Search(self.study, storage)

    def stored(self) -> list[Any]:
        return Storage(self.path, self.study.name).trials()


@pytest.fixture
def folder(tmp_path: Path, make_study: MakeStudy) -> Folder:
    return Folder(tmp_path, make_study(**SPACE, search={"trials": 6}))


def start(search: Search) -> Trial:
    trial = search.ask()
    assert trial is not None
    search.start(trial)
    trial.happens(Event.SUBMIT)
    return trial


def report(search: Search, trial: Trial, epoch: int, value: float) -> None:
    trial.epoch, trial.values = epoch, [value]
    search.report(trial)


def end(search: Search, trial: Trial, event: Event) -> None:
    trial.happens(event)
    search.end(trial)


def run(search: Search, event: Event, value: float = 0.5) -> Trial:
    trial = start(search)
    report(search, trial, 1, value)
    end(search, trial, event)
    return trial


def test_a_budget_of_worker_seconds_holds_over_all_runs(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    folder = Folder(tmp_path, make_study(**SPACE, search={"trials": 6, "worker_seconds": 10}))
    search = folder.search()
    for seconds in (4.0, 5.0):
        trial = start(search)
        trial.worker_seconds = seconds
        end(search, trial, Event.PRUNE)
        assert search.wanted == 6 - trial.number - 1
    left, trial = start(search), start(search)
    trial.worker_seconds = 1.0
    end(search, trial, Event.FINISH)
    assert search.wanted == 1  # the one that runs
    again = folder.search()  # after the death of the driver
    assert again.wanted == 1
    trial = start(again)
    assert trial.number == left.number
    end(again, trial, Event.FINISH)
    assert (again.wanted, folder.search().wanted) == (0, 0)


def test_as_many_trials_are_wanted_as_the_study_says(folder: Folder) -> None:
    search = folder.search()
    assert search.wanted == 6
    run(search, Event.FINISH)
    run(search, Event.PRUNE)
    run(search, Event.RAISE)
    assert search.wanted == 3
    run(search, Event.STOP)  # what the user stopped is to be made up for
    assert search.wanted == 3
    start(search)  # what runs has not ended
    assert search.wanted == 3
    assert search.counts == {
        State.WAITING: 0,
        State.RUNNING: 0,
        State.COMPLETE: 1,
        State.PRUNED: 1,
        State.FAILED: 1,
        State.STOPPED: 1,
    }
    again = folder.search()
    assert again.counts == search.counts
    assert again.wanted == 3
    for _ in range(5):
        run(again, Event.FINISH)
    assert again.wanted == 0


def test_trials_are_numbered_one_after_the_other(folder: Folder) -> None:
    search = folder.search()
    assert [start(search).number for _ in range(3)] == [0, 1, 2]


def test_a_trial_carries_its_configuration(folder: Folder) -> None:
    trial = start(folder.search())
    assert trial.state is State.RUNNING
    assert trial.config == folder.study.config(trial.params)
    assert trial.config["model"]["dropout"]["rate"] == trial.params["model.dropout"]


def test_starts_reports_and_ends_reach_the_storage(folder: Folder) -> None:
    search = folder.search()
    trial = start(search)
    (stored,) = folder.stored()
    assert (stored.state, stored.params) == (TrialState.RUNNING, trial.params)
    report(search, trial, 1, 0.25)
    assert folder.stored()[0].intermediate_values == {1: 0.25}
    assert search.ladder.values == {1: {0: 0.25}}
    report(search, trial, 9, 0.75)
    end(search, trial, Event.FINISH)
    (stored,) = folder.stored()
    assert (stored.state, stored.values) == (TrialState.COMPLETE, [0.75])
    assert stored.intermediate_values == {1: 0.25, 9: 0.75}
    assert stored.user_attrs["sweep"]["state"] == "complete"
    assert search.ladder.complete == {0}


def test_the_sampler_hears_of_values_at_rungs(folder: Folder) -> None:
    search = folder.search()
    trial = start(search)
    report(search, trial, 1, 0.25)
    report(search, trial, 3, 0.5)
    end(search, trial, Event.PRUNE)
    for each in (search, folder.search()):  # whether it heard them now or reads them
        each.ask()
        assert isinstance(each._sampler, OptunaSampler)
        heard = each._sampler._study.get_trials()[0]
        assert heard.state is TrialState.PRUNED
        assert heard.intermediate_values == {1: 0.25, 3: 0.5}


def test_what_was_asked_for_but_not_started_is_not_on_record(folder: Folder) -> None:
    search = folder.search()
    start(search)
    asked = search.ask()
    assert asked is not None
    assert len(folder.stored()) == 1
    again = folder.search()
    again.ask()  # the first, which still runs
    same = again.ask()
    assert same is not None
    assert (same.number, same.params) == (1, asked.params)


def test_the_ladder_is_built_again_from_past_trials(folder: Folder) -> None:
    search = folder.search()
    for value, event in ((0.5, Event.FINISH), (0.25, Event.PRUNE), (0.75, Event.FINISH)):
        run(search, event, value)
    report(search, start(search), 1, 0.1)
    again = folder.search()
    assert again.ladder == search.ladder
    assert again.ladder.values == {1: {0: 0.5, 1: 0.25, 2: 0.75, 3: 0.1}}
    assert again.ladder.complete == {0, 2}
    assert again.ladder.maximize


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid", "cmaes"])
def test_trials_left_running_come_again_under_their_number(
    tmp_path: Path, make_study: MakeStudy, sampler: str
) -> None:
    space = DESIGN if sampler == "grid" else SPACE
    folder = Folder(tmp_path, make_study(**space, search={"trials": 6, "sampler": sampler}))
    search = folder.search()
    run(search, Event.FINISH)
    left = [start(search) for _ in range(2)]
    report(search, left[0], 1, 0.5)

    again = folder.search()
    assert again.wanted == 5
    found = [start(again) for _ in range(2)]
    assert [each.number for each in found] == [1, 2]
    assert [each.params for each in found] == [each.params for each in left]
    assert [each.config for each in found] == [each.config for each in left]
    assert [(each.epoch, each.values, each.losses) for each in found] == [(0, [], 0)] * 2
    assert len(folder.stored()) == 3  # not started a second time
    report(again, found[0], 1, 0.5)  # heard before
    report(again, found[0], 3, 0.75)
    end(again, found[0], Event.FINISH)
    end(again, found[1], Event.RAISE)
    assert start(again).number == 3
    states = [each.state for each in folder.stored()]
    assert states == [TrialState.COMPLETE] * 2 + [TrialState.FAIL, TrialState.RUNNING]
    assert folder.stored()[1].intermediate_values == {1: 0.5, 3: 0.75}


def test_what_comes_again_may_be_left_again(folder: Folder) -> None:
    start(folder.search())
    for _ in range(3):
        search = folder.search()
        assert start(search).number == 0
    run(search, Event.FINISH)
    assert [each.state for each in folder.stored()] == [TrialState.RUNNING, TrialState.COMPLETE]
    assert start(folder.search()).number == 0


@pytest.mark.parametrize(("direction", "best"), [("maximize", 2), ("minimize", 1)])
def test_the_best_of_past_trials(
    tmp_path: Path, make_study: MakeStudy, direction: str, best: int
) -> None:
    folder = Folder(tmp_path, make_study(**SPACE, objective={"direction": direction}))
    assert folder.search().best is None
    search = folder.search()
    run(search, Event.FINISH, 0.5)
    run(search, Event.FINISH, 0.25)
    run(search, Event.FINISH, 0.75)
    run(search, Event.FINISH, 0.75)
    run(search, Event.FINISH, 0.25)
    run(search, Event.PRUNE, 0.9)
    run(search, Event.PRUNE, 0.1)
    found = folder.search().best
    assert found is not None
    assert found.number == best  # the first of equals
    assert found.state is State.COMPLETE
    assert found.value == (0.75 if best == 2 else 0.25)
    assert found.config == folder.study.config(found.params)


def test_pruned_trials_are_no_best(folder: Folder) -> None:
    run(folder.search(), Event.PRUNE, 0.9)
    assert folder.search().best is None


@pytest.mark.parametrize("sampler", ["grid", "factorial"])
def test_a_design_is_exhausted(tmp_path: Path, make_study: MakeStudy, sampler: str) -> None:
    study = make_study(**DESIGN, search={"sampler": sampler, "trials": 100})
    folder = Folder(tmp_path, study)
    search = folder.search()
    assert search.wanted == 10
    found = [run(search, Event.FINISH).params for _ in range(10)]
    assert len({repr(params) for params in found}) == 10
    assert search.wanted == 0
    assert search.ask() is None
    again = folder.search()
    assert (again.wanted, again.ask()) == (0, None)


# Resuming


def play(folder: Folder, *, deaths: frozenset[int]) -> Iterator[tuple[int, Params]]:
    """A sweep, two trials at a time; its driver dies whenever so many have ended."""
    search, ended = folder.search(), 0
    active: list[Trial] = []
    started: set[int] = set()
    while ended < folder.study.target:
        while len(active) < 2 and search.wanted > len(active):
            trial = start(search)
            active.append(trial)
            if trial.number not in started:
                started.add(trial.number)
                yield trial.number, dict(trial.params)
        if ended in deaths:
            deaths -= {ended}
            search, active = folder.search(), []
            continue
        trial = active.pop(0)
        value = zlib.crc32(repr(sorted(trial.params.items())).encode()) / 2**32
        if value < 0.9:
            report(search, trial, 1, value)
        events = [Event.FINISH, Event.PRUNE, Event.FINISH, Event.RAISE, Event.DIVERGE]
        end(search, trial, events[trial.number % 5] if value < 0.9 else Event.DIVERGE)
        ended += 1


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid", "factorial"])
def test_a_resumed_sweep_goes_on_as_if_it_had_never_stopped(
    tmp_path: Path, make_study: MakeStudy, sampler: str
) -> None:
    listed = {"model": {"dropout": {"low": 0, "high": 0.8, "step": 0.02}}}
    space = listed if sampler in ("grid", "factorial") else SPACE
    study = make_study(**space, search={"sampler": sampler, "trials": 40})
    runs = []
    for name, deaths in (
        ("whole", frozenset[int]()),
        ("broken", frozenset({0, 5, *range(12, 40, 3)})),
    ):
        (tmp_path / name).mkdir()
        folder = Folder(tmp_path / name, study)
        runs.append(list(play(folder, deaths=deaths)))
        assert len(folder.stored()) == study.target
    assert runs[0] == runs[1]


def test_nothing_that_a_sampler_keeps_for_itself_is_stored(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    """CMA-ES keeps a pickle in the attributes of its trials; nobody must ever load that."""
    folder = Folder(tmp_path, make_study(**SPACE, search={"sampler": "cmaes"}))
    search = folder.search()
    for value in (0.1, 0.3, 0.2, 0.4, 0.5, 0.7, 0.6):
        run(search, Event.FINISH, value)
    assert isinstance(search._sampler, OptunaSampler)
    assert any(each.system_attrs for each in search._sampler._study.get_trials())
    assert all(each.system_attrs == {} for each in folder.stored())
    assert b"cma" not in folder.path.read_bytes()


def test_the_storage_has_the_direction_of_the_study(tmp_path: Path) -> None:
    study = check({"name": "a", "objective": {"metric": "val_loss"}})
    folder = Folder(tmp_path, study)
    assert not folder.search().ladder.maximize
    assert b'"directions":[1]' in folder.path.read_bytes()
