"""Nets of any shape: a plain restatement of their training, and their bits in company."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.conftest import config, fold
from tests.trainer.test_replicates import assert_same
from trainer.arrays import Array
from trainer.data import Data
from trainer.state import weights
from trainer.streams import Purpose, generator
from trainer.training import train

EPOCHS, SEED, RATE = 2, 6, 0.1

SHAPES: dict[str, Any] = {
    "hidden": st.lists(st.integers(1, 9), max_size=4),
    "features": st.integers(1, 7),
    "classes": st.integers(2, 5),
    "rows": st.integers(2, 40),
    "size": st.integers(1, 45),
    "replicates": st.integers(1, 3),
    "precision": st.sampled_from(["float32", "float64"]),
}


def parts(rows: int, size: int) -> list[slice]:
    """Mini-batches; a last one of one row joins the one before it, unless all have one."""
    starts = list(range(0, rows, size))
    if 1 < size < rows and rows - starts[-1] == 1:
        starts.pop()
    return [slice(*ends) for ends in zip(starts, [*starts[1:], rows], strict=True)]


def descended(values: dict[str, Array], x: Array, y: Array, size: int, replicate: int) -> None:
    """Plain gradient descent on the mean cross-entropy of a net of tanh, in place."""
    depth = len(values) // 2 - 1
    for epoch in range(1, EPOCHS + 1):
        stream = generator(seed=SEED, purpose=Purpose.ORDER, replicate=replicate, epoch=epoch)
        order = stream.permutation(len(x))
        for part in parts(len(x), size):
            active = [x[order[part]]]
            for layer in range(depth + 1):
                z = active[-1] @ values[f"{layer}.weight"] + values[f"{layer}.bias"]
                active.append(np.tanh(z))
            odds = np.exp(z - z.max(axis=1, keepdims=True))
            delta = odds / odds.sum(axis=1, keepdims=True)
            delta[np.arange(len(delta)), y[order[part]]] -= 1
            delta /= len(delta)
            for layer in range(depth, -1, -1):
                below = active[layer]
                back = (delta @ values[f"{layer}.weight"].T) * (1 - below**2)
                values[f"{layer}.weight"] -= RATE * below.T @ delta
                values[f"{layer}.bias"] -= RATE * delta.sum(axis=0)
                delta = back


@settings(deadline=None, max_examples=60)
@given(**SHAPES)
def test_plain_gradient_descent(
    hidden: list[int],
    features: int,
    classes: int,
    rows: int,
    size: int,
    replicates: int,
    precision: str,
) -> None:
    data = Data((fold(rows, features=features, classes=classes),), classes)
    training = {"optimizer": "sgd", "learning_rate": RATE, "batch_size": size, "epochs": EPOCHS}
    cfg = config({"hidden": hidden, "activation": "tanh"}, precision=precision, **training)
    common: dict[str, Any] = {"seed": SEED, "replicates": replicates}
    begun = train(cfg, data, None, 0, **common).state
    found = weights(cfg, train(cfg, data, begun, EPOCHS, **common).state)
    x, y = data.folds[0].x_train.astype(float), data.folds[0].y_train
    for replicate in range(replicates):
        values = {name: array[replicate] for name, array in weights(cfg, begun).items()}
        values = {name: array.astype(float) for name, array in values.items()}
        descended(values, x, y, size, replicate)
        near = {"float32": 1e-4, "float64": 1e-9}[precision]
        for name, value in values.items():
            np.testing.assert_allclose(found[name][replicate], value, rtol=near, atol=near)


@settings(deadline=None, max_examples=60)
@given(
    place=st.sampled_from(["none", "before", "after"]),
    rate=st.sampled_from([0.0, 0.3]),
    cut=st.integers(0, EPOCHS),
    **SHAPES,
)
def test_bits_in_company_and_link_by_link(
    place: str,
    rate: float,
    cut: int,
    hidden: list[int],
    features: int,
    classes: int,
    rows: int,
    size: int,
    replicates: int,
    precision: str,
) -> None:
    data = Data((fold(rows, features=features, classes=classes),), classes)
    size = size if place == "none" else max(2, size)
    model = {"hidden": hidden, "batch_norm": place, "dropout": rate}
    cfg = config(model, precision=precision, batch_size=size, epochs=EPOCHS)
    common: dict[str, Any] = {"seed": SEED, "replicates": replicates}
    whole = train(cfg, data, None, EPOCHS, **common)
    link = train(cfg, data, None, cut, **common)
    assert_same(train(cfg, data, link.state, EPOCHS, **common).state, whole.state)
    last = replicates - 1
    alone = train(cfg, data, None, EPOCHS, seed=SEED, replicates=1, first=last)
    for name in ("parameters", "running", "metrics.train_loss", "metrics.val_loss"):
        np.testing.assert_array_equal(alone.state[name][0], whole.state[name][last])
