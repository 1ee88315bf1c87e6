from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.tapes import Bench
from tests.trainer.test_fusion import check_loops
from tests.trainer.test_replicates import check_fused
from trainer.activations import pieces
from trainer.arrays import Array
from trainer.data import Data
from trainer.dropout import KINDS, LEVELS, inverted, kept, uout, vanilla
from trainer.network import dropped, network
from trainer.prediction import predict
from trainer.rules import Technique
from trainer.state import weights
from trainer.training import train

RATES = [0.1, 0.3, 0.5, 0.8]
MASKS = {"inverted": inverted, "vanilla": vanilla}
NOISE = Technique("uout", {"beta": 0.1})


def bits(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, LEVELS, shape, dtype=np.uint16)


def through(kind: str, units: int, rate: float, x: Array, **bench: Any) -> Array:
    layer = MASKS[kind](Technique(kind), units, rate)
    return Bench(layer, x, **{"training": True} | bench).y


def ones(replicates: int, rows: int, units: int) -> Array:
    return np.ones((replicates, rows, units), np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_inverted_drops_at_its_rate_and_keeps_the_expectation(rate: float) -> None:
    y = through("inverted", 200, rate, ones(1, 1000, 200), bits=bits(1, 200_000))
    assert (y == 0).mean() == pytest.approx(rate, abs=0.005)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-4)
    assert y.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("rate", RATES)
def test_vanilla_drops_at_its_rate_and_predicts_the_expectation(rate: float) -> None:
    y = through("vanilla", 200, rate, ones(1, 1000, 200), bits=bits(1, 200_000))
    assert set(np.unique(y)) == {0.0, 1.0}
    assert (y == 0).mean() == pytest.approx(rate, abs=0.005)
    predicted = through("vanilla", 200, rate, ones(1, 3, 200), training=False)
    np.testing.assert_allclose(predicted, 1 - rate, rtol=1e-4)


def test_uout_changes_by_at_most_beta_evenly() -> None:
    x = np.full((1, 1000, 200), 2.0)
    y = Bench(uout(NOISE, 200, 0.0), x, training=True, bits=bits(1, 200_000)).y
    change = y / x - 1
    assert abs(change).max() < 0.1
    assert change.mean() == pytest.approx(0, abs=5e-4)
    assert change.var() == pytest.approx(0.1**2 / 3, rel=0.01)
    every = np.arange(LEVELS, dtype=np.uint16)[None]
    y = Bench(uout(NOISE, LEVELS, 0.0), np.ones((1, 1, LEVELS)), training=True, bits=every).y
    assert y.mean() == pytest.approx(1, abs=1e-12)
    # the shift of variance that Li et al. give: 3/(3 + β²)
    x = np.random.default_rng(1).standard_normal((1, 1000, 200))
    strong = Technique("uout", {"beta": 0.5})
    y = Bench(uout(strong, 200, 0.0), x, training=True, bits=bits(1, 200_000)).y
    assert x.var() / y.var() == pytest.approx(3 / 3.25, abs=0.01)


def test_prediction_of_inverted_and_uout_is_the_identity() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 4))
    np.testing.assert_array_equal(through("inverted", 4, 0.3, x, training=False), x)
    np.testing.assert_array_equal(Bench(uout(NOISE, 4, 0.0), x, training=False).y, x)


@pytest.mark.parametrize("kind", MASKS)
def test_everything_may_be_dropped(kind: str) -> None:
    y = through(kind, 4, 0.5, ones(1, 3, 4), bits=np.zeros((1, 12), "u2"))
    np.testing.assert_array_equal(y, np.zeros((1, 3, 4)))


@pytest.mark.parametrize("kind", MASKS)
def test_no_rate_drops_nothing(kind: str) -> None:
    for training in (True, False):
        np.testing.assert_array_equal(through(kind, 4, 0.0, ones(1, 3, 4), training=training), 1)


def test_masks_of_replicates_and_of_rows_differ() -> None:
    y = through("inverted", 100, 0.5, ones(2, 2, 100), bits=bits(2, 200))
    assert not np.array_equal(y[0], y[1])
    assert not np.array_equal(y[0, 0], y[0, 1])


def test_what_is_kept_is_exact() -> None:
    words = np.arange(LEVELS, dtype=np.uint16)[None]
    for rate in (*RATES, 1 / 3, 0.999):
        y = through("vanilla", LEVELS, rate, np.ones((1, 1, LEVELS)), bits=words)
        assert y.mean() == kept(rate)


@pytest.mark.parametrize(
    ("where", "place", "expected"),
    [
        ("all", "none", ["end", "end"]),
        ("all", "before", ["end", "end"]),
        ("before_bn", "before", ["before_bn", "before_bn"]),
        ("before_bn", "after", ["before_bn", "before_bn"]),
        ("before_bn", "none", ["end", "end"]),
        ("after_last_bn", "after", [None, "end"]),
        ("after_last_bn", "none", [None, "end"]),
    ],
)
def test_places(where: str, place: str, expected: list[str | None]) -> None:
    model = config({"batch_norm": place, "dropout": {"rate": 0.1, "where": where}}).model
    assert [dropped(model, index) for index in range(2)] == expected


@pytest.mark.parametrize("where", ["all", "before_bn", "after_last_bn"])
@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("activation", ["tanh", {"maxout": {"pieces": 3}}], ids=str)
def test_vanilla_prediction_is_multiplied_in_its_place(
    activation: Any, place: str, where: str, data: Data
) -> None:
    """The forward pass of a net restated."""
    dropout = {"rate": 0.4, "kind": "vanilla", "where": where, "input": 0.2}
    model = {"activation": activation, "batch_norm": place, "dropout": dropout}
    cfg = config(model, precision="float64")
    found = weights(cfg, train(cfg, data, None, 2, seed=0, replicates=1).state)
    w = {name: array[0] for name, array in found.items()}
    keep = {"before_bn": kept(0.4), "end": kept(0.4)}

    def normed(z: Array, layer: int) -> Array:
        z = (z - w[f"{layer}.mean"]) / np.sqrt(w[f"{layer}.variance"] + 1e-5)
        scaled: Array = w[f"{layer}.gamma"] * z + w[f"{layer}.beta"]
        return scaled

    def active(z: Array) -> Array:
        if activation == "tanh":
            return np.tanh(z)
        parts: Array = z.reshape(len(z), pieces(cfg.model.activation), -1).max(axis=1)
        return parts

    h = data.folds[0].x_val.astype(float) * kept(0.2)
    for layer in range(2):
        here = dropped(cfg.model, layer)
        before = keep["before_bn"] if here == "before_bn" else 1.0
        h = h @ w[f"{layer}.weight"] + (w[f"{layer}.bias"] if place != "before" else 0)
        if place == "after":
            h = normed(active(h) * before, layer)
        else:
            h = active(normed(h * before, layer) if place == "before" else h)
        h = h * (keep["end"] if here == "end" else 1.0)
    odds = np.exp(h @ w["2.weight"] + w["2.bias"])
    odds /= odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predict(cfg, found, data.folds[0].x_val)[0], odds)


def test_random_words_are_taken_only_where_units_drop() -> None:
    def words(dropout: Any) -> int:
        model = config({"hidden": [8, 16], "dropout": dropout}).model
        return network(model, inputs=4, classes=3).random(1)

    assert words(0.0) == 0
    assert words({"input": 0.2}) == 4
    assert words(0.5) == 24
    assert words({"rate": 0.5, "where": "after_last_bn"}) == 16
    assert words({"kind": "uout"}) == 24


@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_replicates_keep_their_bits(
    kind: str, place: str, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropout = {"rate": 0.3, "kind": kind, "where": "before_bn", "input": 0.2}
    check_fused(config({"batch_norm": place, "dropout": dropout}), data, monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
def test_input_dropout_leaves_the_data_alone(kind: str) -> None:
    made = fold()
    copies = [array.copy() for array in (made.x_train, made.y_train, made.x_val, made.y_val)]
    cfg = config({"dropout": {"input": 0.5, "kind": kind}}, batch_size=100)
    progress = train(cfg, Data((made,), 3), None, 9, seed=0, replicates=2)
    for array, copy in zip(
        (made.x_train, made.y_train, made.x_val, made.y_val), copies, strict=True
    ):
        np.testing.assert_array_equal(array, copy)
    assert np.isfinite(progress.metrics["val_loss"]).all()


def test_a_net_learns_under_input_dropout(data: Data) -> None:
    """A tutorial has it that such nets don't converge."""
    cfg = config({"dropout": {"input": 0.2}}, epochs=30)
    found = train(cfg, data, None, 30, seed=0, replicates=3).metrics
    assert (found["val_accuracy"] > 0.7).all()


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_loops_give_the_same_bits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dropout = {"rate": 0.3, "kind": kind, "where": "before_bn", "input": 0.2}
    model = {"hidden": [3, 2], "batch_norm": "after", "dropout": dropout}
    check_loops(config(model, batch_size=4), monkeypatch)
