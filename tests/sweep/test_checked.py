"""What a trainer of the user's returns is checked where it runs."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from sweep.checked import OwnMaker
from sweep.scheduling.runner import Advanced, Link, Raised, advance
from tests.trainer.conftest import fold
from trainer.arrays import Array
from trainer.data import Data
from trainer.protocol import Progress
from trainer.state import State

DATA = Data((fold(),), 3)


class Counter:
    """Learns nothing but how often it was called; `wrong` replaces what it returns."""

    wrong: ClassVar[dict[str, Any]] = {}
    odds: Any = None

    def __init__(self, step: float = 1.0) -> None:
        self._step = step

    def train(
        self, data: Data, state: State | None, until: int, *, seed: int, replicates: range
    ) -> Progress:
        state = {"calls": np.zeros(len(replicates))} if state is None else state
        state["calls"] += self._step  # which Ray's store would not allow
        epochs = until - int(state.get("epoch", 0))
        history = {"val_accuracy": np.full((epochs, len(replicates)), 0.5)}
        metrics = {"val_accuracy": np.array([seed + each for each in replicates])}
        return replace(Progress(state, until, history, metrics), **self.wrong)

    def predict_proba(self, state: State, x: Array) -> Array:
        whole = np.ones((len(state["calls"]), len(x), 3)) / 3
        return whole if self.odds is None else np.asarray(self.odds)


def maker(needed: tuple[str, ...] = ("val_accuracy",), **attributes: Any) -> OwnMaker:
    made_by = type("Counter", (Counter,), attributes)
    return OwnMaker("own:Counter", made_by, needed, "d1", ("own",))


def link(until: int = 2, **model: Any) -> Link:
    config = {"model": model, "training": {"epochs": 4}, "data": {"preprocess": "none"}}
    return Link(0, config, until, seed=10, replicates=2, first=5)


def train(made: OwnMaker, until: int = 2, state: State | None = None) -> Advanced:
    outcome, _ = advance(link(until), DATA, state, made)
    assert isinstance(outcome, Advanced), outcome.error
    return outcome


def test_links_go_on_from_the_state_and_the_last_one_finishes() -> None:
    first, state = advance(link(2, step=0.5), DATA, None, maker())
    assert isinstance(first, Advanced)
    assert (first.epoch, first.finished, first.diverged) == (2, False, None)
    assert first.history["val_accuracy"].shape == first.history["epoch_seconds"].shape == (2, 2)
    assert first.metrics["val_accuracy"].tolist() == [15.0, 16.0]
    assert first.environment["trainer"] == "d1"
    assert state is not None
    for array in state.values():
        array.flags.writeable = False
    second, state = advance(link(4, step=0.5), DATA, state, maker())
    assert isinstance(second, Advanced)
    assert (second.epoch, second.finished) == (4, True)
    assert state is not None
    assert (state["calls"].tolist(), int(state["epoch"])) == ([1.0, 1.0], 4)


def test_it_may_return_sooner_or_be_done_early() -> None:
    one = np.full((1, 2), 0.5)
    early = maker(wrong={"epoch": 1, "history": {"val_accuracy": one}})
    assert (train(early).epoch, train(early).finished) == (1, False)
    assert train(maker(wrong={"finished": True})).finished
    lost = train(maker(wrong={"diverged": 2}))
    assert (lost.diverged, lost.finished) == (2, True)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"epoch": 3}, "train must return an epoch above 0 and up to 2, got 3"),
        ({"epoch": 0}, "train must return an epoch above 0 and up to 2, got 0"),
        ({"epoch": 1.5}, "train must return a whole number as epoch, got 1.5"),
        ({"diverged": "yes"}, "train must return a whole number as diverged, got yes"),
        ({"metrics": {}}, "train must return metrics with val_accuracy, got epoch_seconds"),
        ({"metrics": 0.5}, "train must return metrics by name, got float"),
        (
            {"metrics": {"val_accuracy": 0.5}},
            "numbers of shape (2,) (replicates,) in metrics['val_accuracy'], got float64 ()",
        ),
        (
            {"metrics": {"val_accuracy": ["a", "b"]}},
            "numbers of shape (2,) (replicates,) in metrics['val_accuracy'], got <U1 (2,)",
        ),
        (
            {"history": {"val_loss": np.zeros((2, 3))}},
            "numbers of shape (2, 2) (epochs, replicates) in history['val_loss'], "
            "got float64 (2, 3)",
        ),
        ({"state": [1.0]}, "train must return state by name, got list"),
        (
            {"state": {"model": object()}},
            "arrays of numbers, booleans or strings, state['model'] among them, got object ()",
        ),
    ],
)
def test_what_it_may_not_return(wrong: dict[str, Any], reason: str) -> None:
    outcome, state = advance(link(), DATA, None, maker(wrong=wrong))
    assert isinstance(outcome, Raised)
    assert outcome.error.rstrip().endswith(reason)
    assert "TrainerError: own:Counter.train must return" in outcome.error
    assert state is None


def test_no_progress_at_all() -> None:
    outcome, _ = advance(link(), DATA, None, maker(train=lambda self, *_, **__: {"epoch": 2}))
    assert isinstance(outcome, Raised)
    assert "must return a trainer.protocol.Progress, got dict" in outcome.error


@pytest.mark.parametrize("odds", [np.ones((2, 2)), np.ones((1, 2, 3)), "none"])
def test_a_trial_whose_winner_could_not_predict_fails_at_its_end(odds: Any) -> None:
    assert train(maker(odds=odds)).epoch == 2
    outcome, _ = advance(link(4), DATA, None, maker(odds=odds))
    assert isinstance(outcome, Raised)
    rule = "predict_proba must return numbers of shape (2, 2, 3) (replicates, rows, classes), got"
    assert rule in outcome.error
