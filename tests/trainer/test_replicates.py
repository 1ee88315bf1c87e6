"""Replicate r of R is the same seed alone, and links change nothing: bit for bit."""

from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_gradients import ACTIVATION_CASES
from trainer.config import Config
from trainer.data import Data
from trainer.optimisers import OPTIMISERS
from trainer.state import State, weights
from trainer.training import train

R = 3


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """Equal bit for bit, but for what the clock says."""
    assert left.keys() == right.keys()
    for name, array in left.items():
        if "seconds" not in name:
            np.testing.assert_array_equal(array, right[name], err_msg=name)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("activation", ACTIVATION_CASES, ids=str)
def test_fused_equals_alone(
    data: Data, activation: Any, place: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"activation": activation, "batch_norm": place, "dropout": 0.3}
    check_fused(config(model, precision=precision), data, monkeypatch)


@pytest.mark.parametrize("optimizer", OPTIMISERS)
@pytest.mark.parametrize("hidden", [[], [64, 64], [130, 1, 33]])
def test_fused_equals_alone_for_every_optimiser(
    optimizer: str, hidden: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data((fold(200, features=33, classes=10),), 10)
    check_fused(config({"hidden": hidden}, optimizer=optimizer), data, monkeypatch)


def check_fused(cfg: Config, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = train(cfg, data, None, 4, seed=5, replicates=R)
    monkeypatch.setattr("trainer.training.CACHE", 1)  # one replicate at a time
    single = train(cfg, data, None, 4, seed=5, replicates=R)
    assert_same(fused.state, single.state)
    assert_same(fused.history, single.history)
    lone = train(cfg, data, None, 4, seed=5, replicates=1)
    np.testing.assert_array_equal(lone.state["parameters"][0], fused.state["parameters"][0])


@pytest.mark.parametrize("stopping", [None, {"patience": 1}, {"monitor": "val_accuracy"}])
@pytest.mark.parametrize("place", ["none", "before", "after"])
def test_links_change_nothing(data: Data, place: str, stopping: dict[str, Any] | None) -> None:
    cfg = config({"batch_norm": place, "dropout": 0.3}, early_stopping=stopping, learning_rate=0.05)
    whole = train(cfg, data, None, 9, seed=1, replicates=R)
    state: State | None = None
    parts = []
    for until in (1, 3, 9):
        link = train(cfg, data, state, until, seed=1, replicates=R)
        parts.append(link.history)
        state = link.state
    assert state is not None
    assert_same(state, whole.state)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in whole.history}
    assert_same(joined, whole.history)
    assert_same(link.metrics, whole.metrics)
    assert_same(weights(cfg, state), weights(cfg, whole.state))
    assert link.finished
    assert whole.finished


def test_replicates_may_be_numbered_from_any_on(data: Data) -> None:
    cfg = config({"dropout": 0.3, "batch_norm": "after"}, early_stopping={"patience": 1})
    whole = train(cfg, data, None, 4, seed=5, replicates=5)
    link = train(cfg, data, None, 2, seed=5, replicates=2, first=3)
    rest = train(cfg, data, link.state, 4, seed=5, replicates=2, first=3)
    assert_same({name: array[3:] for name, array in whole.metrics.items()}, rest.metrics)
    assert_same(weights(cfg, rest.state), {k: v[3:] for k, v in weights(cfg, whole.state).items()})
