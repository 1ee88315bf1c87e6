"""Pretraining against plain restatements; it looks at no label, and replicates stay apart."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data
from trainer.rules import ConfigError
from trainer.state import weights
from trainer.streams import Purpose, generator
from trainer.training import train

EPOCHS, SIZE, ROWS, FEATURES = 3, 8, 61, 6


def begun(cfg: Config, data: Data | None = None, **given: Any) -> dict[str, Array]:
    made = data or Data((fold(ROWS, features=FEATURES),), 3)
    settings = {"seed": 4, "replicates": 2} | given
    return weights(cfg, train(cfg, made, None, 0, **settings).state)


def made(name: str, model: dict[str, Any] | None = None, **fields: Any) -> Config:
    pretraining = (
        {name: {"epochs": EPOCHS, "batch_size": SIZE} | fields} if name != "none" else name
    )
    return config(
        {"hidden": [5, 4], "activation": "sigmoid", "pretrain": pretraining} | (model or {}),
        precision="float64",
    )


def batches(stream: np.random.Generator) -> Iterator[Array]:
    for _ in range(EPOCHS):
        order = stream.permutation(ROWS)
        yield from (order[start : start + SIZE] for start in range(0, ROWS - SIZE + 1, SIZE))


def test_an_autoencoder_layer_by_layer() -> None:
    cfg = made("autoencoder", {"activation": "tanh"}, learning_rate=0.02)
    found, start = begun(cfg), begun(made("none", {"activation": "tanh"}))
    for replicate in range(2):
        x = fold(ROWS, features=FEATURES).x_train.astype(float)
        for layer, units in enumerate([5, 4]):
            key = {"seed": 4, "purpose": Purpose.PRETRAINING, "epoch": layer}
            stream = generator(replicate=replicate, **key)  # type: ignore[arg-type]
            back = stream.standard_normal((units, x.shape[1])) * np.sqrt(2 / units)
            values = [
                start[f"{layer}.weight"][replicate].copy(),
                np.zeros(units),
                back,
                np.zeros(x.shape[1]),
            ]
            means, squares = ([np.zeros_like(v) for v in values] for _ in range(2))
            for step, rows in enumerate(batches(stream), 1):
                seen = x[rows]
                active = np.tanh(seen @ values[0] + values[1])
                error = (active @ values[2] + values[3] - seen) / len(rows)
                below = (error @ values[2].T) * (1 - active**2)
                gradients = [seen.T @ below, below.sum(0), active.T @ error, error.sum(0)]
                for each, gradient in enumerate(gradients):
                    means[each] = 0.9 * means[each] + 0.1 * gradient
                    squares[each] = 0.999 * squares[each] + 0.001 * gradient**2
                    bias_1, bias_2 = 1 - 0.9**step, 1 - 0.999**step
                    size = 0.02 * np.sqrt(bias_2) / bias_1
                    values[each] -= size * means[each] / (np.sqrt(squares[each]) + 1e-8)
            np.testing.assert_allclose(found[f"{layer}.weight"][replicate], values[0], rtol=1e-7)
            np.testing.assert_allclose(found[f"{layer}.bias"][replicate], values[1], rtol=1e-7)
            x = np.tanh(x @ values[0] + values[1])


def sigmoid(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-z)))


@pytest.mark.parametrize("binary", [False, True])
def test_a_boltzmann_machine_layer_by_layer(binary: bool) -> None:
    given = fold(ROWS, features=FEATURES)
    if binary:
        given = replace(given, x_train=(given.x_train > 0).astype(np.float32))
    data = Data((given,), 3)
    found, start = begun(made("rbm"), data), begun(made("none"), data)
    for replicate in range(2):
        x = given.x_train.astype(float)
        for layer, units in enumerate([5, 4]):
            key = {"seed": 4, "purpose": Purpose.PRETRAINING, "epoch": layer}
            stream = generator(replicate=replicate, **key)  # type: ignore[arg-type]
            weight = start[f"{layer}.weight"][replicate].copy()
            hidden, visible = np.zeros(units), np.zeros(x.shape[1])
            for rows in batches(stream):
                seen = x[rows]
                odds = sigmoid(seen @ weight + hidden)
                drawn = stream.random(odds.shape) < odds
                back = drawn @ weight.T + visible
                if binary or layer:
                    back = sigmoid(back)
                again = sigmoid(back @ weight + hidden)
                weight += 0.05 * (seen.T @ odds - back.T @ again) / len(rows)
                hidden += 0.05 * (odds - again).mean(axis=0)
                visible += 0.05 * (seen - back).mean(axis=0)
            np.testing.assert_allclose(found[f"{layer}.weight"][replicate], weight, rtol=1e-9)
            np.testing.assert_allclose(
                found[f"{layer}.bias"][replicate], hidden, rtol=1e-7, atol=1e-12
            )
            x = sigmoid(x @ weight + hidden)


@pytest.mark.parametrize("batch_size", [SIZE, 200])
def test_pairs_train_all_layers_on_whether_two_rows_are_of_a_class(batch_size: int) -> None:
    model = {"activation": "tanh"}
    cfg = made("pairs", model, learning_rate=0.02, units=3, batch_size=batch_size)
    found, start = begun(cfg), begun(made("none", model))
    given = fold(ROWS, features=FEATURES)
    x, y, size = given.x_train.astype(float), given.y_train, min(ROWS, batch_size)
    listed = sorted(range(ROWS), key=lambda row: (y[row], row))  # class by class
    for replicate in range(2):
        stream = generator(seed=4, purpose=Purpose.PRETRAINING, replicate=replicate)
        values = [start[f"{i}.{part}"][replicate] for i in (0, 1) for part in ("weight", "bias")]
        values = [value.copy() for value in values]
        values += [stream.standard_normal((8, 3)) * np.sqrt(2 / 8), np.zeros(3)]
        values += [stream.standard_normal((3, 1)) * np.sqrt(2 / 3), np.zeros(1)]
        means, squares = ([np.zeros_like(v) for v in values] for _ in range(2))
        step = 0
        for _ in range(EPOCHS):
            order = stream.permutation(ROWS)
            for begin in range(0, ROWS - size + 1, size):
                step += 1
                left = order[begin : begin + size]
                same = stream.random(size) < 0.5
                fellows = [[row for row in listed if y[row] == y[each]] for each in left]
                others = [ROWS - len(each) for each in fellows]
                inside = stream.integers([len(each) - 1 for each in fellows])
                outside = stream.integers(others)
                gradients = [np.zeros_like(v) for v in values]
                for pair, row in enumerate(left):
                    mine = fellows[pair]
                    if same[pair]:
                        partner = mine[(mine.index(row) + 1 + inside[pair]) % len(mine)]
                        assert partner != row
                        assert y[partner] == y[row]
                    else:
                        after = listed.index(mine[-1]) + 1
                        partner = listed[(after + outside[pair]) % ROWS]
                        assert y[partner] != y[row]
                    w0, b0, w1, b1, w2, b2, w3, b3 = values
                    low = [np.tanh(x[each] @ w0 + b0) for each in (row, partner)]
                    high = [np.tanh(each @ w1 + b1) for each in low]
                    joined = np.concatenate(high)
                    top = np.tanh(joined @ w2 + b2)
                    error = (sigmoid(top @ w3 + b3) - same[pair]) / size
                    d_top = (w3 @ error) * (1 - top**2)
                    gradients[6] += np.outer(top, error)
                    gradients[7] += error
                    gradients[4] += np.outer(joined, d_top)
                    gradients[5] += d_top
                    for each, part in zip((row, partner), (0, 1), strict=True):
                        d_high = (w2 @ d_top)[4 * part : 4 * part + 4] * (1 - high[part] ** 2)
                        d_low = (w1 @ d_high) * (1 - low[part] ** 2)
                        gradients[2] += np.outer(low[part], d_high)
                        gradients[3] += d_high
                        gradients[0] += np.outer(x[each], d_low)
                        gradients[1] += d_low
                for i, gradient in enumerate(gradients):
                    means[i] = 0.9 * means[i] + 0.1 * gradient
                    squares[i] = 0.999 * squares[i] + 0.001 * gradient**2
                    rate = 0.02 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                    values[i] = values[i] - rate * means[i] / (np.sqrt(squares[i]) + 1e-8)
        names = ["0.weight", "0.bias", "1.weight", "1.bias"]
        for name, value in zip(names, values[:4], strict=True):
            np.testing.assert_allclose(found[name][replicate], value, rtol=1e-7, atol=1e-10)
        for name in ("2.weight", "2.bias"):
            np.testing.assert_array_equal(found[name], start[name])


@pytest.mark.parametrize("place", ["none", "before", "after"])
def test_pairs_of_replicates_stay_apart(place: str) -> None:
    cfg = made("pairs", {"batch_norm": place})
    both, alone = begun(cfg), begun(cfg, replicates=1, first=1)
    for name, array in both.items():
        np.testing.assert_array_equal(alone[name][0], array[1])
    data = Data((fold(ROWS, features=FEATURES),), 3)
    assert np.isfinite(train(cfg, data, None, 3, seed=4, replicates=2).metrics["val_loss"]).all()


@pytest.mark.parametrize("labels", [np.zeros(ROWS, int), np.arange(ROWS)], ids=["one", "all"])
def test_pairs_where_there_are_no_others_or_no_fellows(labels: Array) -> None:
    given = replace(fold(ROWS, features=FEATURES), y_train=labels.astype(np.int64))
    found = begun(made("pairs"), Data((given,), ROWS))
    assert all(np.isfinite(array).all() for array in found.values())


@pytest.mark.parametrize("name", ["autoencoder", "rbm"])
@pytest.mark.parametrize("place", ["none", "before", "after"])
def test_labels_are_not_looked_at_and_replicates_stay_apart(name: str, place: str) -> None:
    cfg = made(name, {"batch_norm": place})
    given = fold(ROWS, features=FEATURES)
    both = begun(cfg)
    other = begun(cfg, Data((replace(given, y_train=given.y_train[::-1].copy()),), 3))
    alone = begun(cfg, replicates=1, first=1)
    for name, array in both.items():
        np.testing.assert_array_equal(other[name], array)
        np.testing.assert_array_equal(alone[name][0], array[1])
    progress = train(cfg, Data((given,), 3), None, 3, seed=4, replicates=2)
    assert np.isfinite(progress.metrics["val_loss"]).all()


@pytest.mark.parametrize("activation", ["prelu", {"maxout": {"pieces": 2}}, "elu"], ids=str)
def test_an_autoencoder_moves_all_that_a_layer_learns(activation: Any) -> None:
    model = {"activation": activation}
    found, start = begun(made("autoencoder", model)), begun(made("none", model))
    for name, array in found.items():
        assert np.isfinite(array).all()
        hidden = not name.startswith("2.")
        assert (array != start[name]).any() == hidden, name


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"pretrain": "rbm", "activation": "tanh"}, "must not be rbm with model.activation tanh"),
        (
            {"pretrain": "autoencoder", "architecture": "cnn"},
            "must be none with model.architecture",
        ),
        (
            {"pretrain": "autoencoder", "start_from": {"source": "a.npz"}},
            "must be none with model.start_from",
        ),
    ],
    ids=str,
)
def test_what_can_not_be_pretrained(model: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        train(config(model), Data((fold(),), 3), None, 1, seed=0, replicates=1)
