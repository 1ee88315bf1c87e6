from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sweep.pruners import Asha, NoPruner, Pruner
from sweep.scheduling.runner import Link, Outcome
from sweep.search.trial import State, Trial
from tests.sweep.fakes import EPOCHS, Sweep, advanced, values


def test_a_sweep_ends_with_its_trials() -> None:
    sweep = Sweep(trials=6).run()
    assert sweep.states() == [State.COMPLETE] * 6
    assert all(ending[1:] == (None, None) for ending in sweep.records.endings.values())
    assert sweep.of("ask") == list(range(6))


def test_a_trial_that_nothing_can_prune_is_one_link() -> None:
    sweep = Sweep(trials=1).run()
    (link,) = sweep.runner.links
    assert (link.number, link.until, link.seed, link.replicates) == (0, EPOCHS, 0, 3)
    assert link.config == {"training": {"epochs": EPOCHS}}


def test_a_worker_knows_of_the_first_links_that_it_may_expect() -> None:
    sweep = Sweep(trials=7, pruner=Asha(3, 3)).run()
    ahead: dict[int, list[int]] = {link.until: [] for link in sweep.runner.links}
    for link in sweep.runner.links:
        ahead[link.until].append(link.ahead)
    assert ahead[3] == [3, 3, 3, 3, 2, 2, 1]
    assert set(ahead[EPOCHS]) == {0}


def test_the_calls_about_a_trial_come_in_order() -> None:
    sweep = Sweep(trials=1, pruner=Asha(3, 1)).run()
    link = ["submit", "advanced", "report"]
    assert sweep.about(0) == [
        *("ask", "start", "started"),
        *(link * 3),
        *("ended", "state", "end", "forget"),
    ]
    assert [link.until for link in sweep.runner.links] == [1, 3, 9]
    assert sweep.records.epochs_before[0] == [0, 1, 3]
    assert sweep.search.ladder.values == {1: {0: 0.5}, 3: {0: 0.5}, 9: {0: 0.5}}
    assert sweep.search.trials[0].metrics == {"val_accuracy": [0.5] * 2, "val_loss": [-0.5] * 2}
    assert sweep.search.trials[0].epoch == EPOCHS


def test_where_the_seconds_of_a_trial_went_is_added_up() -> None:
    """Of links that work for one of their five seconds; the second trial waits for the first."""
    sweep = Sweep(trials=2, slots=1, pruner=Asha(3, 3), seconds=lambda link: 5.0).run()
    worked = {"training": 0.0, "validation": 0.0, "handover": 2.0}
    first, second = (trial.timings for trial in sweep.search.trials)
    assert first == worked | {"waiting": 4.0 + 9.0}  # the other trial's link came between
    assert second == worked | {"waiting": 9.0 + 9.0}


def test_training_and_validation_are_told_apart() -> None:
    link = advanced(Link(7, {"training": {"epochs": EPOCHS}}, 9, 0, 2))
    seconds = {"epoch_seconds": [[0.2, 0.3], [0.2, np.nan]], "validation_seconds": [[0.1, 0.1]] * 2}
    link = replace(link, history={name: np.array(each) for name, each in seconds.items()})
    assert link.timings(1.5) == pytest.approx(
        {"training": 0.3, "validation": 0.4, "handover": 0.3, "waiting": 0.5}
    )


def test_nothing_is_asked_for_when_nothing_is_wanted() -> None:
    sweep = Sweep(trials=3)
    sweep.search.counts[State.PRUNED] = 3
    sweep.run()
    assert sweep.calls == []
    assert len(sweep.standings) == 1


# Slots


@pytest.mark.parametrize("pruner", [NoPruner(), Asha(3, 1)])
def test_no_slot_is_idle_while_there_is_work(pruner: Pruner) -> None:
    chance = np.random.default_rng(0)
    lengths = chance.lognormal(0, 1.5, 4000)
    scores = chance.random(4000)
    sweep = Sweep(
        lambda link: advanced(link, scores[link.number]),
        trials=4000,
        slots=500,
        pruner=pruner,
        seconds=lambda link: float(lengths[link.number]) * link.until,
    ).run()
    assert len(sweep.states()) == 4000
    assert sweep.runner.most == 501
    last = max(index for index, (call, _) in enumerate(sweep.calls) if call == "start")
    waits = [index for index, (call, _) in enumerate(sweep.calls) if call == "wait"]
    busy = [n for n, index in zip(sweep.runner.busy_at_wait, waits, strict=True) if index < last]
    assert len(busy) > 1000
    assert set(busy) == {500}


def test_the_next_trial_is_asked_for_before_the_loop_waits() -> None:
    sweep = Sweep(trials=8, slots=2).run()
    first_wait = sweep.calls.index(("wait", -1))
    assert [number for call, number in sweep.calls[:first_wait] if call == "start"] == [0, 1, 2]
    assert [number for call, number in sweep.calls[:first_wait] if call == "ask"] == [0, 1, 2, 3]


def test_slots_may_come_and_go() -> None:
    def respond(link: Link) -> Outcome:
        sweep.runner.size = {0: 4, 6: 1, 9: 0, 12: 3}.get(link.number, sweep.runner.size)
        return advanced(link)

    sweep = Sweep(respond, trials=20, slots=0)
    sweep.loop.run()
    running = [standing.running for standing in sweep.standings]
    assert running[0] == 1
    assert max(running) == 5
    assert sweep.states() == [State.COMPLETE] * 20


# Reproducible sweeps


def reproducible(slots: int, seed: int, lag: int = 4) -> Sweep:
    """A sweep of trials with fixed values and, by the seed, random durations."""
    scores = np.random.default_rng(0).random(60)
    seconds = np.random.default_rng(seed).lognormal(0, 1.5, (60, EPOCHS + 1))
    return Sweep(
        lambda link: advanced(link, scores[link.number]),
        trials=60,
        slots=slots,
        pruner=Asha(3, 1),
        seconds=lambda link: float(seconds[link.number, link.until]),
        reproducible=True,
        lag=lag,
    ).run()


def test_what_becomes_of_a_trial_does_not_depend_on_what_was_quicker() -> None:
    endings = reproducible(1, 0).records.endings
    assert {state for state, _, _ in endings.values()} == {State.COMPLETE, State.PRUNED}
    for slots, seed in ((2, 1), (3, 2), (8, 3), (8, 4)):
        assert reproducible(slots, seed).records.endings == endings
    assert reproducible(3, 2, lag=8).records.endings != endings  # it is part of the study


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_a_trial_waits_for_those_that_it_may_depend_on(lag: int) -> None:
    sweep = reproducible(8, 0, lag)
    ended: set[int] = set()
    ahead = []
    for call, number in sweep.calls:
        if call == "ended":
            ended.add(number)
        elif call == "ask":
            assert set(range(number - lag + 1)) <= ended
            ahead.append(number - len(ended))
    assert max(ahead) == lag - 1
    assert max(standing.running for standing in sweep.standings) == lag


# The best


@pytest.mark.parametrize(
    ("direction", "found", "best"),
    [
        ("maximize", (0.5, 0.4, 0.6, 0.6, 0.7), [0, 2, 4]),
        ("minimize", (0.5, 0.4, 0.6, 0.4, 0.1), [0, 1, 4]),
    ],
)
def test_the_best_so_far_is_recorded(
    direction: str, found: Sequence[float], best: list[int]
) -> None:
    sweep = Sweep(values(*found), trials=5, slots=1, direction=direction).run()
    assert sweep.records.best == best
    assert sweep.loop.best is sweep.search.trials[best[-1]]
    last = sweep.standings[-1].best
    assert last is not None
    assert last.number == best[-1]


def test_of_equal_trials_the_first_is_the_best_though_it_ends_last() -> None:
    """As it is for everyone who reads the results later."""
    sweep = Sweep(seconds=lambda link: 5.0 if link.number == 0 else 1.0, trials=4).run()
    assert sweep.of("ended") == [1, 2, 3, 0]
    assert sweep.records.best == [1, 0]


def test_the_best_of_past_trials_stays_the_best_until_it_is_beaten() -> None:
    past = Trial(0, {}, {}, values=[0.55])
    sweep = Sweep(values(0.5, 0.55, 0.6), trials=3, slots=1, best=past).run()
    assert sweep.records.best == [2]


# Ends of sweeps


def test_an_interrupt_lets_running_trials_finish() -> None:
    sweep = Sweep(
        trials=10,
        slots=2,
        pruner=Asha(3, 1),
        interrupts=lambda sweep: int(len(sweep.of("advanced")) >= 4),
    ).run()
    at = [index for index, (call, _) in enumerate(sweep.calls) if call == "advanced"][3]
    later = {call for call, _ in sweep.calls[at + 1 :]}
    assert "start" not in later
    assert "ask" not in later
    assert "submit" in later  # what runs goes on to its end
    assert len(sweep.states()) < 10
    assert State.STOPPED not in sweep.states()
    assert sweep.standings[-1].stopping
    assert not sweep.standings[0].stopping


def test_a_second_interrupt_leaves_running_trials_for_a_later_run() -> None:
    sweep = Sweep(
        trials=10,
        slots=2,
        pruner=Asha(3, 1),
        interrupts=lambda sweep: 2 * int(len(sweep.of("advanced")) >= 4),
    ).run()
    left = sweep.of("left")
    assert 1 <= len(left) <= 3
    for number in left:
        assert sweep.about(number)[-2:] == ["left", "forget"]
        assert "end" not in sweep.about(number)  # for the storage it runs still
    at = [index for index, (call, _) in enumerate(sweep.calls) if call == "advanced"][3]
    settled = next(i for i, (call, _) in enumerate(sweep.calls) if call == "left")
    assert settled - at <= 5  # the fourth link is settled, and no more
    assert {call for call, _ in sweep.calls[settled:]} == {"left", "forget"}
    assert sweep.standings[-1].running == 0


def test_an_interrupt_before_the_first_trial() -> None:
    sweep = Sweep(interrupts=lambda sweep: 1).run()
    assert sweep.calls == []
    assert sweep.standings[-1].stopping


def test_what_comes_back_of_a_stopped_trial_is_ignored() -> None:
    sweep = Sweep(trials=1)
    late = advanced(Link(7, {"training": {"epochs": EPOCHS}}, 9, 0, 2))
    wait = sweep.runner.wait
    sweep.runner.wait = lambda seconds: [late, *wait(seconds)]  # type: ignore[method-assign]
    sweep.run()
    assert sweep.states() == [State.COMPLETE]


def test_no_trial_starts_after_the_time_limit() -> None:
    sweep = Sweep(trials=100, slots=2, timeout=4.5).run()
    assert sweep.states() == [State.COMPLETE] * len(sweep.states())
    starts = len(sweep.states())
    assert 9 <= starts <= 11  # two a second for 4.5 s, and one behind
    assert not sweep.standings[-1].stopping


def test_no_trial_starts_after_the_budget_of_worker_seconds() -> None:
    sweep = Sweep(
        trials=100, slots=2, pruner=Asha(3, 1), seconds=lambda link: 5.0, worker_seconds=9
    ).run()
    # A link brings a second of training, whatever the clock says, and a trial has three: those
    # that ran when the third ended finish, and the one that was asked for ahead never starts.
    spent = [sweep.search.trials[number].worker_seconds for number in sweep.records.endings]
    assert spent == [3.0] * len(spent)
    assert len(sweep.of("ask")) > len(spent)
    ended = [index for index, (call, _) in enumerate(sweep.calls) if call == "end"]
    assert "start" not in {call for call, _ in sweep.calls[ended[2] :]}
    assert 3 <= len(spent) <= 5
    assert sweep.states() == [State.COMPLETE] * len(spent)


def test_a_design_that_is_exhausted_ends_the_sweep() -> None:
    sweep = Sweep(trials=100, points=7).run()
    assert sweep.states() == [State.COMPLETE] * 7


# What is watched


def test_the_standing_is_watched_throughout() -> None:
    sweep = Sweep(values(*[n / 10 for n in range(6)]), trials=6, slots=1).run()
    first, last = sweep.standings[0], sweep.standings[-1]
    assert (first.target, first.running, first.fresh, first.best) == (6, 2, 0, None)
    assert (last.target, last.running, last.fresh) == (6, 0, 6)
    assert last.counts[State.COMPLETE] == 6
    fresh = [standing.fresh for standing in sweep.standings]
    assert fresh == sorted(fresh)
    assert set(fresh) == set(range(7))


def test_one_trial_is_stopped_and_the_sweep_goes_on() -> None:
    sweep = Sweep(trials=6, seconds=lambda link: 1000.0 if link.number == 1 else 1.0)
    sweep.stops = {2: [1, 99]}  # 99 is none of those that run
    sweep.run()
    assert sweep.records.endings[1] == (State.STOPPED, "stopped by the user", None)
    assert sweep.states().count(State.COMPLETE) == 6  # another one took its place
