"""How the trials of a sweep end."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sweep.pruners import Asha, Ladder, NoPruner
from sweep.scheduling.loop import RETRIES
from sweep.scheduling.runner import Link, Outcome, Raised
from sweep.search.trial import State
from tests.sweep.fakes import Sweep, advanced, losing, values


def test_a_trial_that_raises_fails_and_the_sweep_goes_on() -> None:
    def respond(link: Link) -> Outcome:
        return Raised(1, error) if link.number == 1 else advanced(link)

    error = f"Traceback …\nValueError: {'no' * 200}\n"
    sweep = Sweep(respond, trials=5).run()
    reason = f"exception: ValueError: {'no' * 143}n…"
    assert sweep.records.endings[1] == (State.FAILED, reason, error)
    assert sweep.states().count(State.COMPLETE) == 4
    assert set(sweep.records.weights) == {0, 2, 3, 4}
    assert "report" not in sweep.about(1)


def test_a_sweep_of_failures_ends() -> None:
    sweep = Sweep(lambda link: Raised(link.number, "no"), trials=5).run()
    assert sweep.states() == [State.FAILED] * 5
    assert sweep.records.best == []
    assert sweep.loop.trouble is None


def test_a_sweep_gives_up_after_too_many_failures() -> None:
    def respond(link: Link) -> Outcome:
        return Raised(link.number, "no") if link.number % 2 else advanced(link)

    sweep = Sweep(respond, trials=100, slots=2, max_failures=4).run()
    failed = sweep.states().count(State.FAILED)
    assert sweep.loop.trouble == f"{failed} trials failed (search.max_failures)"
    assert 4 <= failed <= 5  # what ran was settled
    assert len(sweep.states()) <= 11
    at = sweep.calls.index(("end", 7))  # the fourth
    assert "start" not in {call for call, _ in sweep.calls[at:]}


@pytest.mark.parametrize("times", range(1, RETRIES + 1))
def test_a_lost_link_is_submitted_again(times: int) -> None:
    sweep = Sweep(losing(times), trials=3, pruner=Asha(3, 1)).run()
    assert sweep.states() == [State.COMPLETE] * 3
    assert [link.until for link in sweep.runner.links if link.number == 1] == (
        [1] + [3] * (times + 1) + [9]
    )
    assert sweep.standings[-1].lost == times
    assert sweep.search.trials[1].losses == times
    assert sweep.about(1).count("started") == 1


def test_a_link_that_is_lost_too_often_fails_its_trial() -> None:
    assert RETRIES == 3
    sweep = Sweep(losing(100), trials=3, pruner=Asha(3, 1)).run()
    assert sweep.records.endings[1] == (
        State.FAILED,
        "lost",
        "lost 4 times: the worker died",
    )
    assert len([link for link in sweep.runner.links if link.number == 1]) == 1 + 4
    assert 1 not in sweep.records.weights
    assert sweep.states().count(State.COMPLETE) == 2


@pytest.mark.parametrize(
    ("value", "diverged", "reason"),
    [
        (math.nan, 2, "diverged at epoch 2"),
        (0.5, 3, "diverged at epoch 3"),
        (math.nan, None, "diverged at epoch 3"),
        (math.inf, None, "diverged at epoch 3"),
        (-math.inf, None, "diverged at epoch 3"),
    ],
)
def test_a_trial_that_diverges_is_pruned(value: float, diverged: int | None, reason: str) -> None:
    def respond(link: Link) -> Outcome:
        if link.number == 1 and link.until == 3:
            return advanced(link, value, diverged=diverged)
        return advanced(link)

    sweep = Sweep(respond, trials=3, pruner=Asha(3, 1)).run()
    assert sweep.records.endings[1] == (State.PRUNED, reason, None)
    assert sweep.about(1).count("advanced") == 2
    assert sweep.about(1).count("report") == 1  # no sampler hears what is no number
    assert sweep.about(1).count("submit") == 2
    assert 1 in sweep.records.weights
    assert sweep.search.ladder.values[3].keys() == {0, 2}


def test_one_replicate_without_a_number_is_enough_to_diverge() -> None:
    def respond(link: Link) -> Outcome:
        outcome = advanced(link)
        outcome.metrics["val_accuracy"][1] = math.nan
        return outcome

    assert Sweep(respond, trials=1).run().states() == [State.PRUNED]


def test_a_pruned_trial_gets_no_further_link() -> None:
    sweep = Sweep(values(0.9, 0.8, 0.7, 0.6), trials=4, slots=1, pruner=Asha(3, 1)).run()
    assert sweep.states() == [State.COMPLETE, *[State.PRUNED] * 3]
    assert sweep.records.endings[2] == (State.PRUNED, "asha at epoch 1", None)
    assert sweep.about(2)[2:] == [
        *("started", "submit", "advanced", "report"),
        *("ended", "state", "end", "forget"),
    ]
    assert sweep.records.best == [0]


@pytest.mark.parametrize("rung", [1, 3])
def test_a_hopeless_trial_is_pruned_with_its_cause_and_the_sampler_hears_of_it(rung: int) -> None:
    """Its link may end before the rung."""

    def respond(link: Link) -> Outcome:
        bad = link.number == 1
        outcome = advanced(replace(link, until=1) if bad else link, finished=False if bad else None)
        rows = len(outcome.history["val_accuracy"])
        dead = {"health/dead_2": np.full((rows, 2), 1.0 if bad else 0.9)}
        return replace(outcome, history={**outcome.history, **dead}, hopeless=bad)

    sweep = Sweep(respond, trials=3, pruner=Asha(3, rung)).run()
    assert sweep.states() == [State.COMPLETE, State.PRUNED, State.COMPLETE]
    reason = "hopeless at epoch 1: all of layer 2 is dead"
    assert sweep.records.endings[1] == (State.PRUNED, reason, None)
    assert sweep.about(1).count("submit") == 1
    assert sweep.about(1).count("report") == 1
    assert sweep.search.trials[1].record()["diagnosis"] == ["100 % of layer 2 is dead"]
    assert sweep.search.trials[0].record()["diagnosis"] == ["90 % of layer 2 is dead"]


def test_a_trial_that_stops_early_is_complete() -> None:
    sweep = Sweep(lambda link: advanced(link, finished=link.until >= 3), pruner=Asha(3, 1)).run()
    assert sweep.states() == [State.COMPLETE] * 6
    assert {link.until for link in sweep.runner.links} == {1, 3}


def test_a_trial_is_not_judged_at_its_full_budget() -> None:
    judged = []

    class Severe(NoPruner):
        def keeps(self, number: int, epoch: int, ladder: Ladder) -> bool:
            judged.append(epoch)
            return False

    assert Sweep(pruner=Severe(), trials=2).run().states() == [State.COMPLETE] * 2
    assert judged == []
