"""Pretraining against plain restatements; it looks at no label, and replicates stay apart."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import PATCHES, Image
from trainer.data import Data
from trainer.rules import ConfigError
from trainer.state import weights
from trainer.streams import Purpose, generator
from trainer.training import train

EPOCHS, SIZE, ROWS, FEATURES = 3, 8, 61, 6
IMAGE = Image(2, 7, 6)
CNN = {"architecture": {"cnn": {"channels": [3, 4]}}, "hidden": [5]}


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


def batches(stream: np.random.Generator, rows: int = ROWS) -> Iterator[Array]:
    for _ in range(EPOCHS):
        order = stream.permutation(rows)
        yield from (order[start : start + SIZE] for start in range(0, rows - SIZE + 1, SIZE))


def stream(replicate: int, layer: int) -> np.random.Generator:
    return generator(seed=4, purpose=Purpose.PRETRAINING, replicate=replicate, epoch=layer)


def images() -> Data:
    return Data((fold(ROWS, features=IMAGE.channels * IMAGE.pixels),), 3, IMAGE)


class Adam:
    """Adam on these arrays, in place, at a rate of 0.02."""

    def __init__(self, values: list[Array]) -> None:
        self.values, self.steps = values, 0
        self.means, self.squares = ([np.zeros_like(v) for v in values] for _ in range(2))

    def step(self, gradients: list[Array]) -> None:
        self.steps += 1
        rate = 0.02 * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for i, gradient in enumerate(gradients):
            self.means[i] = 0.9 * self.means[i] + 0.1 * gradient
            self.squares[i] = 0.999 * self.squares[i] + 0.001 * gradient**2
            self.values[i] -= rate * self.means[i] / (np.sqrt(self.squares[i]) + 1e-8)


def encoded(x: Array, weight: Array, stream: np.random.Generator) -> list[Array]:
    """The weight and the bias of a layer of tanh that has learnt to give x back, by Adam."""
    units = weight.shape[1]
    back = stream.standard_normal((units, x.shape[1])) * np.sqrt(2 / units)
    values = [weight.copy(), np.zeros(units), back, np.zeros(x.shape[1])]
    adam = Adam(values)
    for rows in batches(stream, len(x)):
        seen = x[rows]
        active = np.tanh(seen @ values[0] + values[1])
        error = (active @ values[2] + values[3] - seen) / len(rows)
        below = (error @ values[2].T) * (1 - active**2)
        adam.step([seen.T @ below, below.sum(0), active.T @ error, error.sum(0)])
    return values[:2]


def test_an_autoencoder_layer_by_layer() -> None:
    cfg = made("autoencoder", {"activation": "tanh"}, learning_rate=0.02)
    found, start = begun(cfg), begun(made("none", {"activation": "tanh"}))
    for replicate in range(2):
        x = fold(ROWS, features=FEATURES).x_train.astype(float)
        for layer in range(2):
            weight, bias = encoded(x, start[f"{layer}.weight"][replicate], stream(replicate, layer))
            np.testing.assert_allclose(found[f"{layer}.weight"][replicate], weight, rtol=1e-7)
            np.testing.assert_allclose(found[f"{layer}.bias"][replicate], bias, rtol=1e-7)
            x = np.tanh(x @ weight + bias)


def plain_patches(x: Array, kernel: int) -> Array:
    """(n, H, W, k·k·C) of images (n, C, H, W) with zeros around them."""
    pad = kernel // 2
    field = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))).transpose(0, 2, 3, 1)
    height, width = x.shape[2:]
    rows = [
        [field[:, top : top + kernel, left : left + kernel].reshape(len(x), -1)]
        for top in range(height)
        for left in range(width)
    ]
    return np.concatenate(rows).transpose(1, 0, 2).reshape(len(x), height, width, -1)


def test_an_autoencoder_of_convolutions_learns_from_patches() -> None:
    model = CNN | {"activation": "tanh"}
    cfg = made("autoencoder", model, learning_rate=0.02)
    found, start = begun(cfg, images()), begun(made("none", model), images())
    for replicate in range(2):
        x = images().folds[0].x_train.astype(float).reshape(ROWS, *IMAGE)
        for layer in range(2):
            key = stream(replicate, layer)
            seen, every = plain_patches(x, 3), np.arange(ROWS)
            places = [
                (key.integers(x.shape[2], size=ROWS), key.integers(x.shape[3], size=ROWS))
                for _ in range(PATCHES)
            ]
            rows = np.concatenate([seen[every, top, left] for top, left in places])
            weight, bias = encoded(rows, start[f"{layer}.weight"][replicate], key)
            np.testing.assert_allclose(found[f"{layer}.weight"][replicate], weight, rtol=1e-7)
            np.testing.assert_allclose(found[f"{layer}.bias"][replicate], bias, rtol=1e-7)
            active = np.tanh(seen @ weight + bias)
            corners = [
                active[:, i : i + 2 * (x.shape[2] // 2) : 2, j : j + 2 * (x.shape[3] // 2) : 2]
                for i in (0, 1)
                for j in (0, 1)
            ]
            x = np.max(corners, axis=0).transpose(0, 3, 1, 2)
        flat = x.transpose(0, 2, 3, 1).reshape(ROWS, -1)
        weight, bias = encoded(flat, start["2.weight"][replicate], stream(replicate, 2))
        np.testing.assert_allclose(found["2.weight"][replicate], weight, rtol=1e-7)
        np.testing.assert_array_equal(found["3.weight"], start["3.weight"])


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
            key = stream(replicate, layer)
            weight = start[f"{layer}.weight"][replicate].copy()
            hidden, visible = np.zeros(units), np.zeros(x.shape[1])
            for rows in batches(key):
                seen = x[rows]
                odds = sigmoid(seen @ weight + hidden)
                drawn = key.random(odds.shape) < odds
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
        key = stream(replicate, 0)
        values = [start[f"{i}.{part}"][replicate] for i in (0, 1) for part in ("weight", "bias")]
        values = [value.copy() for value in values]
        values += [key.standard_normal((8, 3)) * np.sqrt(2 / 8), np.zeros(3)]
        values += [key.standard_normal((3, 1)) * np.sqrt(2 / 3), np.zeros(1)]
        adam = Adam(values)
        for _ in range(EPOCHS):
            order = key.permutation(ROWS)
            for begin in range(0, ROWS - size + 1, size):
                left = order[begin : begin + size]
                same = key.random(size) < 0.5
                fellows = [[row for row in listed if y[row] == y[each]] for each in left]
                others = [ROWS - len(each) for each in fellows]
                inside = key.integers([len(each) - 1 for each in fellows])
                outside = key.integers(others)
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
                adam.step(gradients)
        names = ["0.weight", "0.bias", "1.weight", "1.bias"]
        for name, value in zip(names, values[:4], strict=True):
            np.testing.assert_allclose(found[name][replicate], value, rtol=1e-7, atol=1e-10)
        for name in ("2.weight", "2.bias"):
            np.testing.assert_array_equal(found[name], start[name])


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch, the oracle, on one thread."""
    found = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    before = found.get_num_threads()
    found.set_num_threads(1)
    yield found
    found.set_num_threads(before)


def test_pairs_train_convolutions_with_the_rest(torch: Any) -> None:
    model = CNN | {"activation": "tanh"}
    cfg = made("pairs", model, learning_rate=0.02, units=3)
    found, start = begun(cfg, images()), begun(made("none", model), images())
    given = images().folds[0]
    x, y = torch.tensor(given.x_train.astype(float)).reshape(ROWS, *IMAGE), given.y_train
    listed = sorted(range(ROWS), key=lambda row: (y[row], row))
    names = [f"{i}.{part}" for i in range(3) for part in ("weight", "bias")]
    for replicate in range(2):
        key = stream(replicate, 0)
        values = [start[name][replicate].copy() for name in names]
        values += [key.standard_normal((10, 3)) * np.sqrt(2 / 10), np.zeros(3)]
        values += [key.standard_normal((3, 1)) * np.sqrt(2 / 3), np.zeros(1)]
        adam = Adam(values)
        tensors = [torch.from_numpy(value).requires_grad_() for value in values]

        def below(rows: Array, tensors: list[Any] = tensors) -> Any:
            w0, b0, w1, b1, w2, b2 = tensors[:6]
            z = x[torch.tensor(rows)]
            for weight, bias in ((w0, b0), (w1, b1)):
                kernels = weight.reshape(3, 3, z.shape[1], -1).permute(3, 2, 0, 1)
                z = torch.nn.functional.conv2d(z, kernels, bias, padding=1).tanh()
                z = torch.nn.functional.max_pool2d(z, 2)
            return (z.permute(0, 2, 3, 1).flatten(1) @ w2 + b2).tanh()

        for left in batches(key):
            same = key.random(SIZE) < 0.5
            fellows = [[row for row in listed if y[row] == y[each]] for each in left]
            inside = key.integers([len(each) - 1 for each in fellows])
            outside = key.integers([ROWS - len(each) for each in fellows])
            partners = [
                mine[(mine.index(row) + 1 + within) % len(mine)]
                if equal
                else listed[(listed.index(mine[-1]) + 1 + beyond) % ROWS]
                for row, mine, equal, within, beyond in zip(
                    left, fellows, same, inside, outside, strict=True
                )
            ]
            joined = torch.cat([below(left), below(np.array(partners))], 1)
            score = ((joined @ tensors[6] + tensors[7]).tanh() @ tensors[8] + tensors[9])[:, 0]
            wanted = torch.tensor(same.astype(float))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(score, wanted)
            adam.step([each.numpy() for each in torch.autograd.grad(loss, tensors)])
        for name, value in zip(names, values, strict=False):
            np.testing.assert_allclose(found[name][replicate], value, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("model", [{}, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("place", ["none", "before", "after"])
def test_pairs_of_replicates_stay_apart(place: str, model: dict[str, Any]) -> None:
    cfg = made("pairs", model | {"batch_norm": place, "dropout": 0.3})
    both, alone = begun(cfg, images()), begun(cfg, images(), replicates=1, first=1)
    for name, array in both.items():
        if name != "image":
            np.testing.assert_array_equal(alone[name][0], array[1])
    progress = train(cfg, images(), None, 3, seed=4, replicates=2)
    assert np.isfinite(progress.metrics["val_loss"]).all()


@pytest.mark.parametrize("labels", [np.zeros(ROWS, int), np.arange(ROWS)], ids=["one", "all"])
def test_pairs_where_there_are_no_others_or_no_fellows(labels: Array) -> None:
    given = replace(fold(ROWS, features=FEATURES), y_train=labels.astype(np.int64))
    found = begun(made("pairs"), Data((given,), ROWS))
    assert all(np.isfinite(array).all() for array in found.values())


@pytest.mark.parametrize("model", [{}, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("name", ["autoencoder", "rbm"])
@pytest.mark.parametrize("place", ["none", "before", "after"])
def test_labels_are_not_looked_at_and_replicates_stay_apart(
    name: str, place: str, model: dict[str, Any]
) -> None:
    cfg = made(name, model | {"batch_norm": place, "dropout": 0.3})
    data = images()
    (given,) = data.folds
    both = begun(cfg, data)
    relabelled = replace(given, y_train=given.y_train[::-1].copy())
    other = begun(cfg, replace(data, folds=(relabelled,)))
    alone = begun(cfg, data, replicates=1, first=1)
    for name, array in both.items():
        if name == "image":
            continue
        np.testing.assert_array_equal(other[name], array)
        np.testing.assert_array_equal(alone[name][0], array[1])
    progress = train(cfg, data, None, 3, seed=4, replicates=2)
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
        ({"pretrain": "autoencoder", "hidden": []}, "must be none without hidden layers, got 'aut"),
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
