import copy
import json
import math

import pytest

from sweep.search.trial import ENDED, TABLE, Event, IllegalEvent, State, Trial, after

LEADS = [
    (State.WAITING, Event.SUBMIT, State.RUNNING),
    (State.WAITING, Event.STOP, State.STOPPED),
    (State.WAITING, Event.FINISH, State.COMPLETE),
    (State.WAITING, Event.PRUNE, State.PRUNED),
    (State.WAITING, Event.GIVE_UP, State.FAILED),
    (State.RUNNING, Event.ADVANCE, State.WAITING),
    (State.RUNNING, Event.FINISH, State.COMPLETE),
    (State.RUNNING, Event.PRUNE, State.PRUNED),
    (State.RUNNING, Event.DIVERGE, State.PRUNED),
    (State.RUNNING, Event.RAISE, State.FAILED),
    (State.RUNNING, Event.TIME_OUT, State.FAILED),
    (State.RUNNING, Event.LOSE, State.WAITING),
    (State.RUNNING, Event.STOP, State.STOPPED),
]
ALLOWED = {(state, event) for state, event, _ in LEADS}
ILLEGAL = [(state, event) for state in State for event in Event if (state, event) not in ALLOWED]


def trial(state: State) -> Trial:
    return Trial(
        number=7,
        params={"a": 1},
        config={"training": {"epochs": 9}},
        rungs=(1, 3, 9),
        state=state,
        reason="as before",
        epoch=3,
        values=[0.5, 0.7],
        metrics={"val_accuracy": [0.5, 0.7]},
        environment={"kernel": "a"},
    )


@pytest.mark.parametrize(("state", "event", "then"), LEADS)
def test_an_event_leads_to_a_state(state: State, event: Event, then: State) -> None:
    assert after(state, event) is then
    one = trial(state)
    one.happens(event, "why")
    assert one.state is then
    assert one.reason == ("why" if then in ENDED else "as before")
    assert one.ended == (then in ENDED)


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_any_other_event_raises_and_changes_nothing(state: State, event: Event) -> None:
    one = trial(state)
    before = copy.deepcopy(one)
    with pytest.raises(IllegalEvent, match=f"{event} can't happen to a trial that is {state}"):
        one.happens(event, "why")
    assert one == before


def test_every_pair_of_state_and_event_is_tested() -> None:
    assert len(LEADS) + len(ILLEGAL) == len(State) * len(Event)
    assert set(TABLE) == ALLOWED


def test_an_ended_trial_is_ended_for_good() -> None:
    assert {State.COMPLETE, State.PRUNED, State.FAILED, State.STOPPED} == ENDED
    assert not any(state in ENDED for state, _ in TABLE)


def test_every_trial_can_end() -> None:
    for state in set(State) - ENDED:
        assert any(then in ENDED for (start, _), then in TABLE.items() if start is state)


def test_the_value_is_the_mean_over_replicates() -> None:
    one = trial(State.RUNNING)
    assert one.value == pytest.approx(0.6)
    one.values = [0.5, math.nan]
    assert math.isnan(one.value)
    assert math.isnan(Trial(0, {}, {}).value)


def test_the_next_rung_lies_beyond_what_was_trained() -> None:
    one = trial(State.WAITING)
    assert one.next_rung() == 9
    one.epoch = 0
    assert one.next_rung() == 1
    one.epoch = 2  # where a lost state was found again
    assert one.next_rung() == 3


def test_the_record_of_a_trial() -> None:
    one = trial(State.RUNNING)
    one.diagnosis = ["43 % of layer 2 is dead"]
    one.happens(Event.PRUNE, "asha at epoch 3")
    assert one.record() == {
        "state": "pruned",
        "reason": "asha at epoch 3",
        "epoch": 3,
        "worker_seconds": 0.0,
        "timings": {},
        "value": pytest.approx(0.6),
        "values": [0.5, 0.7],
        "metrics": {"val_accuracy": [0.5, 0.7]},
        "environment": {"kernel": "a"},
        "diagnosis": ["43 % of layer 2 is dead"],
    }
    assert json.loads(json.dumps(one.record())) == one.record()


def test_the_record_of_a_trial_that_never_ran() -> None:
    one = Trial(0, {}, {})
    one.happens(Event.STOP, "stopped by the user")
    assert one.record() == {
        "state": "stopped",
        "reason": "stopped by the user",
        "epoch": 0,
        "worker_seconds": 0.0,
        "timings": {},
        "value": None,
        "values": [],
        "metrics": {},
        "environment": {},
        "diagnosis": [],
    }


def test_what_links_do_not_have_in_common_is_kept() -> None:
    trial, found = Trial(0, {}, {}), []
    for gpu, kernel in (("a", "x"), ("a", "x"), (None, "x"), (None, "y"), (None, "y")):
        trial.trained_in({"kernel": kernel} | ({"gpu": gpu} if gpu else {}), "host")
        found.append(trial.environment.get("changed"))
    assert found == [None, None, ["gpu"], ["gpu", "kernel"], ["gpu", "kernel"]]
    assert trial.environment["kernel"] == "y"
    assert "gpu" not in trial.environment
