"""The loop's links: their states, their time limits."""

from dataclasses import replace

from sweep.pruners import Asha
from sweep.scheduling.runner import Link, Outcome
from sweep.search.trial import State
from tests.sweep.fakes import FakeStates, Sweep, advanced, losing
from trainer.state import State as TrainerState


def test_a_state_is_saved_when_a_crash_would_cost_more_than_is_allowed() -> None:
    """Links take a second each here; the last link of a trial is followed by its end."""
    every = Sweep(trials=2, pruner=Asha(3, 1), study={"checkpoint": {"seconds": 1}}).run()
    assert sorted(every.saved.times) == [0, 0, 1, 1]
    second = Sweep(trials=2, pruner=Asha(3, 1), study={"checkpoint": {"seconds": 2}}).run()
    assert sorted(second.saved.times) == [0, 1]
    none = Sweep(trials=2, pruner=Asha(3, 1)).run()
    assert none.saved.times == []
    assert every.saved.epochs == {}  # a trial that has ended needs no state


def test_a_trial_goes_on_from_its_saved_state() -> None:
    sweep = Sweep(trials=2, pruner=Asha(3, 1), saved={1: 3}).run()
    assert [link.until for link in sweep.runner.links if link.number == 1] == [9]
    assert set(sweep.runner.adopted) == {1}
    assert sweep.states() == [State.COMPLETE] * 2


def test_a_lost_state_is_made_up_for_by_the_saved_one() -> None:
    sweep = Sweep(losing(1), trials=2, pruner=Asha(3, 1), study={"checkpoint": {"seconds": 1}})
    sweep.run()
    assert int(sweep.runner.adopted[1]["epoch"]) == 1
    assert [link.until for link in sweep.runner.links if link.number == 1] == [1, 3, 3, 9]


def test_a_sweep_goes_on_where_states_can_t_be_saved() -> None:
    whole = Sweep(trials=1, pruner=Asha(2, 1), study={"checkpoint": {"seconds": 2}}).run()
    assert len(whole.saved.times) == 2
    sweep = Sweep(trials=1, pruner=Asha(2, 1), study={"checkpoint": {"seconds": 2}})
    sweep.saved.broken = True
    sweep.run()
    assert sweep.states() == [State.COMPLETE]
    assert len(sweep.saved.times) == 3  # from the first on it is tried again after each link


def test_a_sweep_whose_trials_start_from_states_that_can_t_be_saved_gives_up() -> None:
    sweep = Sweep(trials=6, slots=1)
    sweep.search.segments = {0: (None, 3), 1: (0, 6)}
    sweep.saved.broken = True
    sweep.loop.run()
    assert sweep.loop.trouble == "the states from which trials start can't be saved (storage)"
    assert len(sweep.states()) < 4


def test_a_sweep_whose_saved_states_can_t_be_read_leaves_them_to_a_later_run() -> None:
    class Unread(FakeStates):
        def load(self, number: int) -> TrainerState | None:
            if number == 1:
                raise OSError("reset by peer")
            return super().load(number)

    sweep = Sweep(trials=4, slots=2)
    sweep.loop.states = Unread({1: 3})
    sweep.run()
    assert sweep.loop.trouble == "the saved states of trials can't be read (storage): reset by peer"
    assert sweep.of("left") == [1]
    assert sweep.of("submit") == [0]
    assert sweep.loop.states.epochs == {1: 3}


def test_what_earlier_drivers_left_is_cleared_when_all_trials_have_ended() -> None:
    assert Sweep(trials=2, saved={7: 3}).run().saved.epochs == {}
    stopped = Sweep(trials=9, saved={7: 3}, interrupts=lambda sweep: int(len(sweep.calls) > 9))
    assert stopped.run().saved.epochs == {7: 3}


def test_links_cut_by_time_save_their_state_and_decide_nothing() -> None:
    """A rung is reached in parts: each is saved; what is told and pruned stays at the rungs."""
    epochs = iter([2, 5, 9])

    def respond(link: Link) -> Outcome:
        part = replace(link, until=next(epochs))
        return replace(advanced(part), finished=part.until == 9)

    sweep = Sweep(respond, trials=1, slots=1, study={"checkpoint": {"seconds": 1}}).run()
    assert sweep.states() == [State.COMPLETE]
    assert [link.until for link in sweep.runner.links] == [9, 9, 9]
    assert {link.seconds for link in sweep.runner.links} == {1}
    assert sweep.calls.count(("report", 0)) == 1
    assert sweep.calls.count(("state", 0)) == 3  # two parts saved, and the end's weights


def test_parts_of_a_link_share_its_time_limit() -> None:
    sweep = Sweep(
        lambda link: replace(advanced(link), epoch=1, finished=False),
        trials=1,
        slots=1,
        study={"resources": {"timeout": 5}, "search": {"max_failures": 1}},
    ).run()
    assert sweep.records.endings[0][:2] == (State.FAILED, "timed out")


def test_a_link_that_takes_too_long_fails_its_trial_alone() -> None:
    sweep = Sweep(
        trials=6,
        seconds=lambda link: 1000.0 if link.number == 2 else 1.0,
        study={"resources": {"timeout": 5}},
    ).run()
    assert sweep.records.endings[2] == (
        State.FAILED,
        "timed out",
        "a link took more than 5 s (resources.timeout)",
    )
    assert sweep.states().count(State.COMPLETE) == 5
    assert sweep.runner.now < 20
    assert 2 not in sweep.records.weights
