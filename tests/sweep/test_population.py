"""Population-based training: who starts from whom, and with what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.scheduling.devices import Devices, Work
from sweep.scheduling.runner import Link, Lost, Outcome, StateLost
from sweep.search.population import FACTORS, Population
from sweep.search.sampler import Params, Result
from sweep.search.search import Search
from sweep.search.storage import STATES, Storage
from sweep.search.trial import Event, State
from sweep.spec import space
from sweep.spec.study import Study, check
from tests.sweep.fakes import FakeStates, Sweep, advanced
from trainer.rules import ConfigError
from trainer.state import State as TrainerState

SIZE, SEGMENTS, EPOCHS = 6, 3, 10
VALUES: dict[str, Any] = {
    "name": "a",
    "model": {
        "hidden": {"choose": [[8], [16, 8]]},
        "dropout": {"low": 0, "high": 0.5, "step": 0.1},
    },
    "training": {
        "epochs": EPOCHS,
        "optimizer": {"choose": ["adam", {"momentum": {"momentum": {"low": 0.5, "high": 0.99}}}]},
        "learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
        "max_norm": {"choose": [None, 1.0, 3.0]},
    },
    "search": {"sampler": {"pbt": {"population": SIZE, "segments": SEGMENTS}}},
}
FIXED = ("model.hidden", "training.optimizer")


@pytest.fixture
def study() -> Study:
    return check(VALUES)


Score = Callable[[int], float | None]


def played(study: Study, score: Score, trials: int = SIZE * SEGMENTS) -> list[tuple[int, Params]]:
    """The parent and the point of every trial, when trial n ends with `score(n)`."""
    sampler = Population(study, [])
    found = []
    for number in range(trials):
        point = sampler.ask(number)
        assert point is not None
        parent = sampler.segment(number).parent
        found.append((-1 if parent is None else parent, point))
        value = score(number)
        state = State.COMPLETE if value is not None else State.FAILED
        sampler.tell(number, Result(STATES[state], None if value is None else [value], {}))
    return found


def test_a_study_has_a_trial_for_every_segment_of_every_member(study: Study) -> None:
    assert study.target == SIZE * SEGMENTS
    assert study.search.pruner.name == "none"
    sampler = Population(study, [])
    assert [sampler.segment(number).until for number in (0, SIZE, 2 * SIZE)] == [4, 7, 10]


def test_a_generation_waits_for_the_one_before(study: Study) -> None:
    sampler = Population(study, [])
    for number in range(SIZE):
        assert sampler.ask(number) is not None
    for number in range(SIZE):
        assert sampler.ask(SIZE) is None
        sampler.tell(number, Result(STATES[State.COMPLETE], [0.5], {}))
    assert sampler.ask(SIZE) is not None


def test_the_worst_go_on_from_the_best(study: Study) -> None:
    found = played(study, lambda number: float(number % SIZE))  # the last member is the best
    parents = [parent for parent, _ in found]
    assert parents[:SIZE] == [-1] * SIZE
    assert parents[SIZE : 2 * SIZE] == [5, 1, 2, 3, 4, 5]
    assert parents[2 * SIZE :] == [11, 7, 8, 9, 10, 11]
    for number, (parent, point) in enumerate(found[SIZE:], SIZE):
        if parent == number - SIZE:
            assert point == found[parent][1]
        assert all(point[name] == found[parent][1][name] for name in FIXED)
    minimized = check(VALUES | {"objective": {"metric": "val_loss"}})
    parents = [parent for parent, _ in played(minimized, lambda number: float(number % SIZE))]
    assert parents[SIZE : 2 * SIZE] == [0, 1, 2, 3, 4, 0]


def test_who_goes_on_from_another_tries_other_values() -> None:
    """Numbers are multiplied, moved into their range and onto their steps, or drawn anew."""
    study = check(VALUES | {"search": {"sampler": {"pbt": {"population": 40, "segments": 3}}}})
    ranges = {each.name: each for each in study.parameters()}
    found = played(study, lambda number: float(number % 40), 120)
    changes: dict[str, list[float]] = {name: [] for name in ranges}
    for number, (parent, point) in enumerate(found):
        assert study.config(point)  # whole, with what its choices ask for
        if parent in (-1, number - 40):
            continue
        for name, value in point.items():
            parameter = ranges[name]
            if isinstance(parameter, space.Range):
                assert isinstance(value, float)
                assert parameter.low <= value <= parameter.high
                before = found[parent][1][name]
                assert isinstance(before, float)
                changes[name].append(value / before if before else -1.0)
            else:
                assert value in parameter.labels
                changes[name].append(float(value != found[parent][1][name]))
    rates = np.array(changes["training.learning_rate"])
    near = np.isclose(rates[:, None], FACTORS).any(axis=1)
    assert 0.5 < near.mean() < 0.95
    assert not np.any(rates == 1)
    assert 0 < np.mean(changes["training.max_norm"]) < 0.4
    assert set(changes["model.hidden"]) == {0.0}
    assert set(changes["training.optimizer"]) == {0.0}
    steps = {point["model.dropout"] for _, point in found}
    assert steps <= {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}


def test_one_that_failed_goes_on_from_the_best(study: Study) -> None:
    found = played(study, lambda number: None if number in (2, 3) else float(number))
    assert [parent for parent, _ in found][SIZE : 2 * SIZE] == [0, 1, 5, 5, 4, 5]


def test_a_population_that_failed_begins_anew(study: Study) -> None:
    found = played(study, lambda number: None if number < SIZE else 0.5)
    assert {parent for parent, _ in found[: 2 * SIZE]} == {-1}
    assert all(parent >= SIZE for parent, _ in found[2 * SIZE :])


def test_states_are_kept_as_long_as_something_may_start_from_them(study: Study) -> None:
    sampler = Population(study, [])
    spent = []
    for number in range(SIZE * SEGMENTS):
        sampler.ask(number)
        sampler.tell(number, Result(STATES[State.COMPLETE], [0.5], {}))
        spent.append(sampler.spent(number))
    ends = {SIZE - 1: [], 2 * SIZE - 1: [*range(SIZE)], 3 * SIZE - 1: [*range(SIZE, 3 * SIZE)]}
    assert spent == [ends.get(number, []) for number in range(3 * SIZE)]


def test_a_resumed_population_goes_on_as_if_it_had_never_stopped(
    study: Study, tmp_path: Path
) -> None:
    def score(number: int) -> float:
        return float(np.random.default_rng(number).random())

    straight = played(study, score)
    found: list[tuple[int, Params]] = []
    for stop in (4, 9, 18):  # a driver for some trials each; the one after is left running
        storage = Storage(tmp_path / "trials.log", study.name, directions=study.directions)
        search = Search(study, storage)
        while (trial := search.ask()) is not None:
            search.start(trial)
            trial.happens(Event.SUBMIT)
            if trial.number == stop:
                break
            del found[trial.number :]
            found.append((-1 if trial.parent is None else trial.parent, dict(trial.params)))
            trial.epoch, trial.values = int(trial.until or 0), [score(trial.number)]
            search.report(trial)
            trial.happens(Event.FINISH)
            search.end(trial)
    assert found == straight


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"search.trials": 50}, "search.trials: must be population × segments (18) or left out"),
        ({"search.pruner": "asha"}, "search.pruner: must be none with search.sampler: pbt"),
        ({"training.epochs": 2}, "search.sampler.pbt.segments: must be at most training.epochs"),
        ({"training.epochs": {"low": 4, "high": 9}}, "training.epochs: can't be searched with"),
        ({"training.early_stopping": {"patience": 3}}, "training.early_stopping: must be null"),
        ({"constraints": ["parameters <= 9"]}, "search.sampler: can't search with constraints"),
        (
            {"model.dropout": 0, "training": {"epochs": EPOCHS}},
            "search.sampler: needs a searched field that may change while a net trains",
        ),
    ],
)
def test_what_a_population_can_not_do(change: dict[str, Any], said: str) -> None:
    from sweep.spec.study_file import assign

    values = VALUES
    for path, value in change.items():
        values = assign(values, path, value)
    with pytest.raises(ConfigError) as caught:
        check(values)
    (problem,) = caught.value.problems
    assert str(problem).startswith(said)


# The loop


def test_a_segment_starts_from_the_state_of_its_parent() -> None:
    sweep = Sweep(trials=3, slots=1)
    for number in range(3):
        sweep.search.segments[number] = (number - 1 if number else None, 3 * number + 3)
    sweep.run()
    assert [(link.number, link.until) for link in sweep.runner.links] == [(0, 3), (1, 6), (2, 9)]
    assert sweep.states() == [State.COMPLETE] * 3
    assert [int(sweep.runner.adopted[number]["epoch"]) for number in (1, 2)] == [0, 1]
    assert sweep.of("state") == [0, 1, 2]  # fetched once, for the record and for the next segment
    assert sweep.records.epochs_before[2] == [1]  # the fake's states are at the epoch of a number


def test_a_segment_whose_parent_is_lost_fails() -> None:
    sweep = Sweep(trials=2, slots=1)
    sweep.search.segments = {1: (0, 9)}  # trial 0 is whole, so its state is not kept
    sweep.run()
    assert sweep.states() == [State.COMPLETE, State.FAILED]
    assert sweep.records.endings[1][1:] == (
        "lost",
        "the state of trial 0, from which it starts, is lost",
    )


class Late(FakeStates):
    """Says what became of states when it has been asked often since the last was saved.

    So often that the runner has counted its cards anew.
    """

    asked = 0

    def save(self, number: int, state: TrainerState) -> None:
        self.asked = 0
        super().save(number, state)

    def settled(self, seconds: float) -> dict[int, bool]:
        self.asked += 1
        return super().settled(seconds) if self.asked == 12 else {}


def test_a_segment_ends_when_the_state_that_others_need_is_kept() -> None:
    sweep = Sweep(trials=4, slots=1)
    sweep.search.segments = {0: (None, 3), 1: (0, 6)}
    sweep.loop.states = Late({})
    sweep.stops = {second: [0] for second in range(1, 4)}  # it has been trained by then
    sweep.loop.run()
    assert sweep.states() == [State.COMPLETE] * 4
    order = [call for call in sweep.calls if call[0] in ("state", "end", "ask")]
    kept = order.index(("end", 0))
    assert order.index(("state", 0)) < kept < order.index(("ask", 1))


def test_a_segment_whose_state_can_t_be_saved_is_left_to_a_later_run() -> None:
    sweep = Sweep(trials=4, slots=1)
    sweep.search.segments = {0: (None, 3), 1: (0, 6)}
    sweep.loop.states = Late({}, broken=True)
    sweep.run()
    assert sweep.loop.trouble == "the states from which trials start can't be saved (storage)"
    assert sweep.of("left") == [0]
    assert sweep.of("end") == []


def test_a_segment_whose_state_is_lost_before_it_is_kept_is_trained_again() -> None:
    sweep = Sweep(trials=2, slots=1)
    sweep.search.segments = {0: (None, 3), 1: (0, 9)}
    fetched, fetch = iter([True, False]), sweep.runner.state

    def state(number: int) -> TrainerState:
        if number == 0 and next(fetched, False):
            raise StateLost("its machine is gone")
        return fetch(number)

    sweep.runner.state = state  # type: ignore[method-assign]
    sweep.loop.run()
    assert sweep.states() == [State.COMPLETE] * 2
    assert [(link.number, link.until) for link in sweep.runner.links] == [(0, 3), (0, 3), (1, 9)]
    assert sweep.saved.times == [0]


def test_a_card_that_is_lost_is_nothing_to_a_segment_that_is_trained() -> None:
    """It waits only for its state to be kept."""
    devices = Devices(lambda config, replicates: Work(0, 1.0, EPOCHS))
    study = {"resources": {"gpu": "auto"}}
    sweep = Sweep(trials=3, slots=2, devices=devices, study=study)
    sweep.search.segments = {0: (None, 3), 1: (None, 3), 2: (1, 9)}
    sweep.loop.states = Late({})
    sweep.runner.with_card = 1
    fetch = sweep.runner.state

    def state(number: int) -> TrainerState:
        sweep.runner.with_card = int(number == 0)
        return fetch(number)

    sweep.runner.state = state  # type: ignore[method-assign]
    sweep.loop.run()
    assert sweep.states() == [State.COMPLETE] * 3
    links = [(link.number, link.gpu) for link in sweep.runner.links]
    assert links == [(0, False), (1, True), (2, False)]


def test_the_last_segment_is_no_parent_and_needs_no_state() -> None:
    sweep = Sweep(trials=2, slots=1)
    sweep.search.segments = {0: (None, 3), 1: (0, 9)}
    sweep.run()
    assert sweep.saved.times == [0]


def test_a_segment_that_was_saved_but_is_not_on_record_is_trained_again() -> None:
    """Its driver died between the two, so that its values are lost."""
    sweep = Sweep(trials=2, slots=1, saved={0: 4, 1: 9})
    sweep.search.segments = {0: (None, 4), 1: (0, 9)}
    sweep.run()
    assert sweep.states() == [State.COMPLETE] * 2
    assert [(link.number, link.until) for link in sweep.runner.links] == [(0, 4), (1, 9)]
    assert set(sweep.runner.adopted) == {1}  # from the state of its parent


def test_a_lost_segment_starts_again_from_its_parent() -> None:
    asked: list[int] = []

    def respond(link: Link) -> Outcome:
        asked.append(link.number)
        return Lost(link.number, "gone") if asked == [0, 1] else advanced(link)

    sweep = Sweep(respond, trials=2, slots=1)
    sweep.search.segments = {0: (None, 5), 1: (0, 9)}
    sweep.run()
    assert sweep.states() == [State.COMPLETE] * 2
    assert [link.number for link in sweep.runner.links] == [0, 1, 1]
