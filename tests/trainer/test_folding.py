"""A folded net predicts what the net does, without batch norm and without dropout."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.conftest import config
from trainer.activations import ACTIVATIONS
from trainer.config import Config
from trainer.convolution import Image
from trainer.folding import fold
from trainer.network import Layout, network
from trainer.prediction import predict

FORMS: list[Any] = [
    *(name for name in ACTIVATIONS if name != "maxout"),
    {"maxout": {"pieces": 2}},
    {"maxout": {"pieces": 3}},
    {"prelu": {"slopes": "shared"}},
]


def drawn(
    cfg: Config, *, inputs: int = 6, classes: int = 3, seed: int = 0, image: Image | None = None
) -> dict[str, Any]:
    """Weights of two replicates as they might be after training: nothing is at its first value."""
    inputs = inputs if image is None else image.channels * image.pixels
    net = network(cfg.model, inputs=inputs, classes=classes, image=image)
    generators = [np.random.default_rng([seed, each]) for each in range(2)]
    dtype = np.dtype(cfg.training.precision.name)
    arrays: dict[str, Any] = {}
    for part in (net.learned, net.statistics):
        layout = Layout(part)
        arrays |= layout.views(layout.draw(generators, dtype))
    for name, array in arrays.items():
        array[...] += generators[0].normal(0, 0.5, array.shape)
        if name.endswith("variance"):
            np.abs(array, out=array)
    return arrays


def x(rows: int = 40, features: int = 6) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 2, (rows, features))


@pytest.mark.parametrize("activation", FORMS, ids=str)
@pytest.mark.parametrize("batch_norm", ["none", "before", {"after": {"epsilon": 0.1}}], ids=str)
def test_predicts_the_same(activation: Any, batch_norm: Any) -> None:
    model = {"activation": activation, "batch_norm": batch_norm, "dropout": 0.3}
    cfg = config(model, precision="float64")
    weights = drawn(cfg)
    before = {name: array.copy() for name, array in weights.items()}
    plain, folded = fold(cfg, weights)
    np.testing.assert_allclose(predict(plain, folded, x()), predict(cfg, weights, x()), rtol=1e-9)
    for name, array in weights.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("where", ["all", "before_bn", "after_last_bn"])
@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_the_factors_of_vanilla_dropout(batch_norm: str, where: str) -> None:
    dropout = {"rate": 0.3, "kind": "vanilla", "where": where, "input": 0.2}
    model = {"activation": "tanh", "batch_norm": batch_norm, "dropout": dropout}
    cfg = config(model, precision="float64")
    weights = drawn(cfg)
    plain, folded = fold(cfg, weights)
    np.testing.assert_allclose(predict(plain, folded, x()), predict(cfg, weights, x()), rtol=1e-9)


@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_nothing_of_batch_norm_and_dropout_is_left(batch_norm: str) -> None:
    cfg = config({"batch_norm": batch_norm, "dropout": 0.3})
    plain, folded = fold(cfg, drawn(cfg))
    assert (plain.model.batch_norm.name, plain.model.dropout.rate) == ("none", 0)
    net = network(plain.model, inputs=6, classes=3)
    assert {name: array.shape[1:] for name, array in folded.items()} == {
        name: start.shape for name, start in net.learned.items()
    }
    assert {array.dtype for array in folded.values()} == {np.dtype(np.float32)}
    assert plain.training == cfg.training


@given(
    hidden=st.lists(st.integers(1, 9), max_size=4),
    inputs=st.integers(1, 9),
    batch_norm=st.sampled_from(["before", "after"]),
    seed=st.integers(0, 99),
)
def test_at_any_depth_and_width(hidden: list[int], inputs: int, batch_norm: str, seed: int) -> None:
    cfg = config(
        {"hidden": hidden, "activation": "elu", "batch_norm": batch_norm}, precision="float64"
    )
    weights = drawn(cfg, inputs=inputs, seed=seed)
    rows = x(features=inputs)
    np.testing.assert_allclose(
        predict(*fold(cfg, weights), rows), predict(cfg, weights, rows), rtol=1e-6
    )
