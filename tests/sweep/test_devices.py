"""`resources.gpu: auto`: trials go where they are measured to end sooner, among fakes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from sweep.pruners import Asha
from sweep.scheduling import runner
from sweep.scheduling.devices import TRIES, Devices, Work, work
from sweep.scheduling.runner import NETS, Advanced, Link, Outcome, Raised, advance
from sweep.search.trial import State
from sweep.spec.study import check
from tests.sweep.designs import CLAIM
from tests.sweep.fakes import EPOCHS, Respond, Sweep, advanced
from tests.trainer.conftest import fold
from trainer.data import Data
from trainer.protocol import Trainer
from trainer.rules import ConfigError

CPU_SECONDS = {0: 1.0, 1: 30.0}
"""An epoch of a small and of a large net on a processor."""

CARD_SECONDS = {0: 5.0, 1: 5.0}


def sized(size: Callable[[int], int]) -> tuple[Devices, Callable[[Link], float]]:
    """Devices that see each trial's size in turn, and how long its links take."""
    seen = iter(range(10_000))

    def asked(_config: Mapping[str, Any], _replicates: int) -> Work:
        return Work(size(next(seen)), 1.0, EPOCHS)

    def seconds(link: Link) -> float:
        return EPOCHS * (CARD_SECONDS if link.gpu else CPU_SECONDS)[size(link.number)]

    return Devices(asked), seconds


def timed(seconds: Callable[[Link], float]) -> Respond:
    def respond(link: Link) -> Outcome:
        return replace(advanced(link), seconds=seconds(link))

    return respond


def swept(size: Callable[[int], int], *, slots: int, cards: int, trials: int) -> Sweep:
    devices, seconds = sized(size)
    sweep = Sweep(
        timed(seconds),
        trials=trials,
        slots=slots,
        seconds=seconds,
        devices=devices,
        study={"resources": {"gpu": "auto"}},
    )
    sweep.runner.with_card = cards
    return sweep


def on_cards(sweep: Sweep) -> list[int]:
    return sorted({link.number for link in sweep.runner.links if link.gpu})


def test_large_nets_go_to_the_card_and_small_ones_do_not() -> None:
    sweep = swept(lambda number: number % 2, slots=4, cards=2, trials=60).run()
    assert sweep.states() == [State.COMPLETE] * 60
    late = range(30, 60)
    gone = set(on_cards(sweep))
    large = [number in gone for number in late if number % 2]
    small = [number in gone for number in late if not number % 2]
    assert sum(large) > 0.8 * len(large)
    assert sum(small) == 0


def test_both_kinds_are_tried() -> None:
    sweep = swept(lambda number: 0, slots=4, cards=2, trials=20).run()
    assert 1 <= len(on_cards(sweep)) <= TRIES


@pytest.mark.parametrize("cards", [1, 2])
def test_a_card_is_not_judged_by_its_cold_start(cards: int) -> None:
    """It takes 5 s an epoch, a processor 12, and the first trial on each card 25."""
    cold: set[int] = set()

    def seconds(link: Link) -> float:
        if link.gpu and len(cold) < cards:
            cold.add(link.number)
        return EPOCHS * (25.0 if link.number in cold else 5.0 if link.gpu else 12.0)

    def respond(link: Link) -> Outcome:
        return replace(advanced(link), seconds=seconds(link), cold=link.number in cold)

    sweep = Sweep(
        respond,
        trials=60,
        slots=cards + 2,
        seconds=seconds,
        devices=Devices(lambda config, replicates: Work(0, 1.0, EPOCHS)),
        study={"resources": {"gpu": "auto"}},
    )
    sweep.runner.with_card = cards
    sweep.run()
    assert sum(number >= 30 for number in on_cards(sweep)) > 10


class Counted:
    """Makes nets that train on a processor where they believe in a card."""

    modules = ()

    def equipped(self) -> None: ...

    def trainer(self, link: Link) -> Trainer:
        return NETS.trainer(replace(link, gpu=False))

    def environment(self, link: Link) -> dict[str, Any]:
        return {}


def test_a_worker_is_cold_once_on_each_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_WARM", set())
    config, data = check({"name": "a"}).first_config(), Data((fold(),), 3)
    found = []
    for gpu in (False, True, True, False):
        outcome, _ = advance(Link(0, config, 1, 0, 1, gpu=gpu), data, None, Counted())
        assert isinstance(outcome, Advanced)
        found.append(outcome.cold)
    assert found == [True, True, False, False]


def alone(card: Callable[[int], float], processor: Callable[[int], float]) -> list[bool]:
    """Where 60 trials go, one after the other; seconds by how many went there before."""
    devices, now, went = Devices(lambda config, replicates: Work(0, 1.0, 1)), 0.0, list[bool]()
    for number in range(60):
        on_card = devices.card(number, {}, 1, slots=2, cards=1, now=now)
        seconds = (card if on_card else processor)(went.count(on_card))
        now += seconds
        devices.took(number, seconds, 1)
        devices.left(number)
        went.append(on_card)
    return went


def test_lucky_measurements_do_not_decide_for_ever() -> None:
    lucky = alone(card=lambda n: 5.0, processor=lambda n: 1.0 if n < TRIES else 12.0)
    assert not any(lucky[4:6])
    assert all(lucky[-40:])
    other = alone(card=lambda n: 1.0 if n < TRIES else 12.0, processor=lambda n: 5.0)
    assert all(other[4:6])
    assert not any(other[-40:])


def test_workers_that_are_always_cold_are_judged_all_the_same() -> None:
    devices, room = Devices(lambda config, replicates: Work(0, 1.0, 1)), {"slots": 3, "cards": 2}
    went = []
    for number in range(40):
        went.append(devices.card(number, {}, 1, now=0.0, **room))
        devices.took(number, 25.0 if went[-1] else 12.0, 1, cold=went[-1])
        devices.left(number)
    assert sum(went) == 2 + TRIES


def test_a_net_that_the_card_trains_a_little_faster_does_not_wait_long_for_it() -> None:
    devices, room = Devices(lambda config, replicates: Work(0, 1.0, 10)), {"slots": 3, "cards": 1}
    for number in range(4):
        card = devices.card(number, {}, 1, now=0.0, **room)
        devices.took(number, 80.0 if card else 100.0, epochs=10)
        devices.left(number)
    assert devices.card(10, {}, 1, now=0.0, **room)
    # the card is free again after 80 s: on a processor a trial ends sooner than by waiting
    assert not devices.card(11, {}, 1, now=10.0, **room)
    # after 10 s: 10 + 80 is less than 100
    assert devices.card(12, {}, 1, now=70.0, **room)


def test_without_a_card_nothing_waits() -> None:
    sweep = swept(lambda number: 1, slots=2, cards=0, trials=6).run()
    assert on_cards(sweep) == []
    assert sweep.runner.now == pytest.approx(3 * EPOCHS * CPU_SECONDS[1])


def test_a_card_that_comes_later_is_used() -> None:
    sweep = swept(lambda number: 1, slots=2, cards=0, trials=40)
    before = sweep.runner.wait

    def wait(seconds: float) -> list[Outcome]:
        if sweep.runner.now > 2000:
            sweep.runner.size, sweep.runner.with_card = 3, 1
        return before(seconds)

    sweep.runner.wait = wait  # type: ignore[method-assign]
    sweep.run()
    assert len(on_cards(sweep)) > 10
    assert min(on_cards(sweep)) > 2


def test_when_the_machine_with_the_cards_dies_trials_go_on_without_it() -> None:
    """Of those that were on it or waited for it; Ray counts its cards a while longer."""
    sweep = swept(lambda number: 1, slots=3, cards=1, trials=40)
    before, died = sweep.runner.wait, list[set[int]]()

    def wait(seconds: float) -> list[Outcome]:
        queued = {link.number for link in sweep.runner.queue if link.gpu}
        if queued and sweep.runner.now > 500 and not died:
            died.append(queued)
            sweep.runner.lose_cards()
        return before(seconds)

    sweep.runner.wait = wait  # type: ignore[method-assign]
    assert sweep.run().states() == [State.COMPLETE] * 40
    assert died
    assert sweep.loop.lost == 1  # the link that it trained
    assert all(sweep.search.trials[number].losses == 0 for number in died[0])
    assert max(on_cards(sweep)) < 39


def test_a_link_that_leaves_a_lost_card_keeps_the_state_of_its_trial() -> None:
    devices, seconds = sized(lambda number: 0)
    sweep = Sweep(
        timed(seconds),
        trials=2,
        slots=2,
        saved={1: 3},
        devices=devices,
        study={"resources": {"gpu": "auto"}},
    )
    sweep.runner.with_card = 1
    before, found = sweep.runner.submit, list[tuple[int, bool, bool]]()

    def submit(link: Link) -> None:
        if link.gpu:
            sweep.runner.lose_cards()
        found.append((link.number, link.gpu, sweep.runner.holds(link.number)))
        before(link)

    sweep.runner.submit = submit  # type: ignore[method-assign]
    sweep.run()
    assert found == [(0, False, False), (1, True, True), (1, False, True)]
    assert (sweep.loop.lost, sweep.about(1).count("forget")) == (0, 1)


def test_a_trial_whose_card_went_knows_that_its_links_differ() -> None:
    def respond(link: Link) -> Outcome:
        if link.gpu:
            sweep.runner.lose_cards()
        return replace(
            advanced(link), environment={"kernel": "a"} | ({"gpu": "b"} if link.gpu else {})
        )

    devices, seconds = sized(lambda number: 0)
    auto = {"resources": {"gpu": "auto"}}
    sweep = Sweep(
        respond, trials=2, slots=2, pruner=Asha(3, 3), seconds=seconds, devices=devices, study=auto
    )
    sweep.runner.with_card = 1
    sweep.run()
    assert [link.gpu for link in sweep.runner.links if link.number == 1] == [True, True, False]
    assert [trial.environment for trial in sweep.search.trials] == [
        {"kernel": "a"},
        {"kernel": "a", "changed": ["gpu"]},
    ]


def test_all_links_of_a_trial_stay_where_the_first_was_unless_the_cards_go() -> None:
    devices = Devices(lambda config, replicates: Work(0, 1.0, 10))
    room: dict[str, Any] = {"slots": 4, "now": 0.0}
    found = {number: devices.card(number, {}, 1, cards=2, **room) for number in range(4)}
    assert set(found.values()) == {False, True}
    for number, card in found.items():
        devices.took(number, 1000.0 if card else 1.0, 1)
    assert {n: devices.card(n, {}, 1, cards=2, **room) for n in range(4)} == found
    assert not any(devices.card(number, {}, 1, cards=0, **room) for number in range(4))


def test_where_cards_can_t_be_used_trials_go_on_without_them() -> None:
    def respond(link: Link) -> Outcome:
        return Raised(link.number, "no CuPy", unequipped=True) if link.gpu else advanced(link)

    devices, _ = sized(lambda number: 0)
    sweep = Sweep(respond, slots=2, devices=devices, study={"resources": {"gpu": "auto"}})
    sweep.runner.with_card = 1
    assert sweep.run().states() == [State.COMPLETE] * 6
    assert 1 <= len(on_cards(sweep)) <= 2
    assert devices.trouble == "no CuPy"


def test_what_a_card_can_t_train_never_goes_there() -> None:
    norm = {"after": {"reestimate": {"choose": [True, False]}}}
    study = check({"name": "a", "model": {"batch_norm": norm}, "resources": {"gpu": "auto"}})
    devices = Devices(lambda config, replicates: work(study, lambda _: 100, config, replicates))
    found = []
    (name,) = (each.name for each in study.parameters())
    for number, reestimated in enumerate([True] * 4 + [False] * 4):
        config = study.config({name: reestimated})
        found.append(devices.card(number, config, 1, slots=16, cards=8, now=0.0))
    assert not any(found[:4])
    assert any(found[4:])


def test_the_size_of_a_net_is_the_work_of_its_steps() -> None:
    study = check({"name": "a", "training": {"batch_size": {"choose": [16, 1024]}}})
    small, large = (study.config({"training.batch_size": each}) for each in (16, 1024))

    def found(config: Mapping[str, Any], parameters: int, replicates: int = 1) -> Work:
        return work(study, lambda _: parameters, config, replicates)

    assert found(small, 1000).size == found(small, 1100).size
    assert found(small, 1000).size < found(large, 1000).size == found(small, 64_000).size
    assert found(small, 1000).size < found(small, 1000, replicates=8).size
    assert found(small, 1000).steps == 64 * found(large, 1000).steps


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"objective": {"metric": "predict_seconds"}}, "objective.metric"),
        ({"constraints": ["epoch_seconds <= 0.001"]}, "constraints.0"),
        ({"claims": [CLAIM, CLAIM | {"name": "b", "by": "predict_seconds"}]}, "claims.1.by"),
    ],
)
def test_times_do_not_judge_trials_on_different_devices(values: dict[str, Any], path: str) -> None:
    norm = {"choose": ["after", "before"]}
    study = {"name": "a", "model": {"batch_norm": norm}, "search": {"sampler": "grid"}, **values}
    check(study)
    told = f"{path}: must not be a time with resources.gpu: auto: it depends on the device, got"
    with pytest.raises(ConfigError, match=told) as caught:
        check(study | {"resources": {"gpu": "auto"}})
    assert len(str(caught.value).splitlines()) == 1


def test_auto_is_no_function_of_the_file() -> None:
    values = {"name": "a", "resources": {"gpu": "auto"}}
    with pytest.raises(ConfigError, match=r"resources\.gpu: must be a number with search\.reprod"):
        check(values | {"search": {"reproducible": True}})
    with pytest.raises(ConfigError, match=r"resources\.gpu: must be a number or auto, got"):
        check({"name": "a", "resources": {"gpu": "some"}})
    resources = check(values).resources
    assert (resources.automatic, resources.cards) == (True, 0)
