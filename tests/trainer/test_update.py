"""What is done to gradients and weights beside the optimiser: against the plain formulas."""

from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_fusion import check_loops
from tests.trainer.test_replicates import assert_same
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data
from trainer.state import weights
from trainer.training import train

R, RATE = 2, 0.5
MODEL = {"activation": "prelu", "batch_norm": "after"}

Arrays = dict[str, Array]


def trained(epochs: int, **training: Any) -> Arrays:
    """The parameters (R, …) after epochs of one batch each."""
    fields = {"optimizer": "sgd", "learning_rate": RATE, "batch_size": 100, "precision": "float64"}
    cfg = config(MODEL, **fields | training)
    state = train(cfg, Data((fold(),), 3), None, epochs, seed=0, replicates=R).state
    found = weights(cfg, state)
    return {k: v for k, v in found.items() if not k.endswith((".mean", ".variance"))}


@pytest.fixture(scope="module")
def start() -> Arrays:
    return trained(0)


@pytest.fixture(scope="module")
def gradient(start: Arrays) -> Arrays:
    """As plain descent follows it."""
    plain = trained(1)
    return {name: (start[name] - plain[name]) / RATE for name in start}


def norms(gradient: Arrays) -> Array:
    """Of each replicate's whole gradient."""
    squares = np.concatenate([g.reshape(R, -1) ** 2 for g in gradient.values()], axis=1)
    found: Array = np.sqrt(squares.sum(axis=1))
    return found


def assert_close(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def softened(w: Array, threshold: float) -> Array:
    found: Array = np.sign(w) * np.maximum(0, abs(w) - threshold)
    return found


def limited(w: Array, c: float) -> Array:
    size = np.linalg.norm(w, axis=-2, keepdims=True)
    return np.where(size > c, w * c / size, w)


def of_weights(arrays: Arrays, change: Any) -> Arrays:
    """The arrays with the change made to weights, and to nothing else."""
    assert {name.partition(".")[2] for name in arrays} == {
        "weight",
        "bias",
        "slope",
        "gamma",
        "beta",
    }
    return {k: change(k, v) if k.endswith(".weight") else v for k, v in arrays.items()}


def test_l2(start: Arrays) -> None:
    expected = of_weights(trained(1), lambda name, w: w - RATE * 0.1 * start[name])
    assert_close(trained(1, l2=0.1), expected)


def test_l1() -> None:
    expected = of_weights(trained(1), lambda _name, w: softened(w, RATE * 0.1))
    found = trained(1, l1=0.1)
    assert_close(found, expected)
    assert 0 < (found["0.weight"] == 0).mean() < 0.5


def test_the_threshold_of_l1_follows_the_schedule() -> None:
    """The second step, at a quarter of the rate, with and without L1 from the same state."""
    fields: dict[str, Any] = {"optimizer": "sgd", "learning_rate": RATE, "batch_size": 100}
    fields |= {"schedule": {"piecewise": {"after": [1], "factors": [0.25]}}}
    plain, soft = (config(MODEL, **fields, precision="float64", l1=l1) for l1 in (0.0, 0.1))
    data = Data((fold(),), 3)
    state = train(soft, data, None, 1, seed=0, replicates=R).state
    without, found = (
        weights(cfg, train(cfg, data, state, 2, seed=0, replicates=R).state)
        for cfg in (plain, soft)
    )
    expected = softened(without["0.weight"], RATE * 0.25 * 0.1)
    np.testing.assert_allclose(found["0.weight"], expected, rtol=1e-9, atol=1e-12)


def test_weight_decay_of_adamw(start: Arrays) -> None:
    adamw = {"adamw": {"weight_decay": 0.2}}
    plain = trained(1, optimizer="adam")
    expected = of_weights(plain, lambda name, w: w - RATE * 0.2 * start[name])
    assert_close(trained(1, optimizer=adamw), expected)


def test_penalties_of_ftrl() -> None:
    plain, other = (
        trained(3, optimizer={"ftrl": {"l1": l1, "l2": l1}}, learning_rate=0.05) for l1 in (0, 0.1)
    )
    assert not np.allclose(plain["0.weight"], other["0.weight"])
    for part in ("bias", "slope", "gamma", "beta"):  # the first step knows nothing of penalties
        one, two = (
            trained(1, optimizer={"ftrl": {"l1": l1, "l2": l1}}, learning_rate=0.05)
            for l1 in (0, 0.1)
        )
        np.testing.assert_array_equal(one[f"0.{part}"], two[f"0.{part}"])


def test_clipping_by_value(start: Arrays, gradient: Arrays) -> None:
    limit = float(np.median(abs(gradient["0.weight"])))
    expected = {k: start[k] - RATE * np.clip(gradient[k], -limit, limit) for k in start}
    assert_close(trained(1, clip_value=limit), expected)


def test_clipping_by_norm_is_each_replicate_s_own(start: Arrays, gradient: Arrays) -> None:
    limit = float(norms(gradient).mean())
    factor = np.minimum(1, limit / norms(gradient))
    assert (factor < 1).tolist().count(True) == 1
    expected = {
        k: start[k] - RATE * factor.reshape(R, *[1] * (start[k].ndim - 1)) * gradient[k]
        for k in start
    }
    assert_close(trained(1, clip_norm=limit), expected)


def test_max_norm_is_one_of_incoming_weights() -> None:
    plain, found = trained(1), trained(1, max_norm=1.0)
    assert_close(found, of_weights(plain, lambda _name, w: limited(w, 1.0)))
    incoming = np.linalg.norm(found["0.weight"], axis=1)
    assert (incoming < 1 + 1e-9).all()
    assert 0 < np.isclose(incoming, 1).mean() < 1
    assert np.linalg.norm(found["0.weight"], axis=2).max() > 1.01, "rows are no one's norm"


def test_all_at_once(start: Arrays, gradient: Arrays) -> None:
    """Clipping first, then L2, the optimiser, L1, and max-norm last."""
    value = float(np.median(abs(gradient["0.weight"])))
    cut = {k: np.clip(g, -value, value) for k, g in gradient.items()}
    norm = float(norms(cut).mean())
    shrink = np.minimum(1, norm / norms(cut))
    cut = {k: g * shrink.reshape(R, *[1] * (g.ndim - 1)) for k, g in cut.items()}
    moved = {k: start[k] - RATE * cut[k] for k in start}
    expected = of_weights(
        moved,
        lambda name, w: limited(softened(w - RATE * 0.05 * start[name], RATE * 0.02), 1.0),
    )
    found = trained(1, clip_value=value, clip_norm=norm, l2=0.05, l1=0.02, max_norm=1.0)
    assert_close(found, expected)


REGULARISED: list[dict[str, Any]] = [
    {"l1": 0.01},
    {"l2": 0.1, "optimizer": "nesterov"},
    {"max_norm": 0.8},
    {"clip_value": 0.01},
    {"clip_norm": 0.3},
    {"optimizer": {"adamw": {"weight_decay": 0.5}}},
    {"optimizer": {"ftrl": {"l1": 0.1, "l2": 0.1}}, "schedule": {"plateau": {"patience": 1}}},
    {"l1": 0.01, "l2": 0.1, "max_norm": 0.8, "clip_value": 0.2, "clip_norm": 0.3},
    {"l1": 0.01, "clip_norm": 0.3, "schedule": {"plateau": {"patience": 1}}},
]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("training", REGULARISED, ids=str)
def test_pieces_links_and_company_change_nothing(
    training: dict[str, Any], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(MODEL | {"dropout": 0.3}, **training, precision=precision)
    data = Data((fold(),), 3)
    whole = train(cfg, data, None, 4, seed=1, replicates=3)
    first = train(cfg, data, None, 1, seed=1, replicates=3)
    assert_same(train(cfg, data, first.state, 4, seed=1, replicates=3).state, whole.state)
    monkeypatch.setattr("trainer.update.PIECE", 17)
    assert_same(train(cfg, data, None, 4, seed=1, replicates=3).state, whole.state)
    monkeypatch.setattr("trainer.training.CACHE", 1)  # one replicate at a time
    assert_same(train(cfg, data, None, 4, seed=1, replicates=3).state, whole.state)


def sparsity(cfg: Config) -> tuple[float, float]:
    """The share of weights that are 0, and the validation accuracy."""
    data = Data((fold(300, features=20),), 3)
    progress = train(cfg, data, None, 9, seed=0, replicates=2)
    found = weights(cfg, progress.state)
    zeros = [found[f"{layer}.weight"] == 0 for layer in range(3)]
    share = sum(each.sum() for each in zeros) / sum(each.size for each in zeros)
    return float(share), float(progress.metrics["val_accuracy"].mean())


def test_l1_and_ftrl_leave_few_weights() -> None:
    assert sparsity(config())[0] == 0
    assert sparsity(config(optimizer="ftrl", learning_rate=0.1))[0] == 0
    for training in (
        {"l1": 0.1},
        {"optimizer": {"ftrl": {"l1": 3.0}}, "learning_rate": 0.3},
    ):
        share, accuracy = sparsity(config(**training))
        assert share > 0.2
        assert accuracy > 0.8


@pytest.mark.parametrize("training", REGULARISED, ids=str)
def test_compiled_loops_give_the_same_bits(
    training: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"hidden": [3, 2], "activation": "prelu", "batch_norm": "after"}
    check_loops(config(model, batch_size=4, **training), monkeypatch)
