"""Each figure against a plain restatement on the weights that a training has left."""

from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_replicates import assert_same
from trainer import health, training
from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.data import Data, Fold
from trainer.network import noise
from trainer.state import State, weights
from trainer.training import train


def trained(cfg: Config, epochs: int = 1, replicates: int = 1) -> tuple[dict[str, Array], State]:
    progress = train(cfg, Data((fold(),), 3), None, epochs, seed=0, replicates=replicates)
    return {name: values[-1] for name, values in progress.history.items()}, progress.state


def test_a_channel_is_dead_only_if_no_pixel_of_any_row_wakes_it() -> None:
    """Images with a black border: rows are pixels, and many of them are always 0."""
    images = np.zeros((512, 12, 12), np.float32)
    images[:, 4:8, 4:8] = np.random.default_rng(0).random((512, 4, 4), np.float32)
    x, y = images.reshape(512, 144), np.arange(512) % 3
    image = Image(1, 12, 12)
    architecture = {"cnn": {"channels": [4], "kernel": 3, "pool": "none"}}
    model = {"architecture": architecture, "hidden": [8], "activation": "relu"}
    data = Data((Fold(x, y, x, y),), 3, image)
    progress = train(config(model), data, None, 1, seed=0, replicates=1)
    found = {name: values[-1][0] for name, values in progress.history.items()}
    assert found["health/dead_1"] < 1
    assert found["health/variance_1"] > 1e-4


def test_gradient_norms_are_those_of_the_last_step() -> None:
    cfg = config(batch_size=100, optimizer="sgd", learning_rate=0.5, precision="float64")
    start = train(cfg, Data((fold(),), 3), None, 0, seed=0, replicates=1).state
    found, state = trained(cfg)
    before, after = weights(cfg, start), weights(cfg, state)
    for layer in range(3):
        step = before[f"{layer}.weight"][0] - after[f"{layer}.weight"][0]
        norm = np.linalg.norm(step) / 0.5
        assert found[f"health/gradient_norm_{layer + 1}"][0] == pytest.approx(norm, rel=1e-9)


def test_a_unit_is_dead_only_if_no_row_wakes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config({"activation": "relu", "init": {"normal": {"sigma": 3.0}}})
    found, _ = trained(cfg, replicates=3)
    monkeypatch.setattr(health, "ROWS", 2)  # whose means and variances are told
    few, _ = trained(cfg, replicates=3)
    for layer in (1, 2):
        np.testing.assert_array_equal(few[f"health/dead_{layer}"], found[f"health/dead_{layer}"])
    assert 0 < found["health/dead_2"].mean() < 1
    assert (few["health/mean_1"] != found["health/mean_1"]).all()


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "elu"])
def test_activations_are_those_of_validation_rows(activation: str) -> None:
    init = {"normal": {"sigma": 3.0}}  # so that some units are dead and some saturated
    cfg = config({"activation": activation, "init": init}, precision="float64")
    found, state = trained(cfg)
    values = weights(cfg, state)
    function: Any = {
        "relu": lambda z: np.maximum(z, 0),
        "tanh": np.tanh,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    }[activation]
    x = fold().x_val.astype(np.float64)
    expected = {}
    for layer in (0, 1):
        z = x @ values[f"{layer}.weight"][0] + values[f"{layer}.bias"][0]
        x = function(z)
        number = layer + 1
        expected[f"health/mean_{number}"] = x.mean()
        expected[f"health/variance_{number}"] = x.var(axis=0).mean()
        if activation == "relu":
            expected[f"health/dead_{number}"] = (x == 0).all(axis=0).mean()
        if activation in ("tanh", "sigmoid"):
            slope = 1 - x**2 if activation == "tanh" else x * (1 - x)
            expected[f"health/saturated_{number}"] = (slope < 0.01).mean()
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, rel=1e-6, abs=1e-12), name
    health = {name for name in found if name.startswith("health/") and "gradient" not in name}
    assert health == set(expected)
    if activation != "elu":
        assert any(
            value > 0.05 for name, value in expected.items() if name[7:11] in ("dead", "satu")
        )


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_variance_that_enters_batch_norm_is_held_against_the_running_one(place: str) -> None:
    model = {"hidden": [7], "batch_norm": place, "dropout": {"rate": 0.5, "where": "before_bn"}}
    cfg = config(model, precision="float64")
    young, _ = trained(cfg, epochs=2)
    assert np.isnan(young["health/variance_ratio_1"])  # it would tell of the statistics' start
    found, state = trained(cfg, epochs=50)
    values = weights(cfg, state)
    z = fold().x_val @ values["0.weight"][0] + (values["0.bias"][0] if place == "after" else 0)
    entering = np.maximum(z, 0) if place == "after" else z
    ratio = entering.var(axis=0).mean() / values["0.variance"][0].mean()
    assert found["health/variance_ratio_1"][0] == pytest.approx(ratio)
    c, v = entering.mean(axis=0), entering.var(axis=0)
    formula = v.mean() / ((c**2 + v) / 0.5 - c**2).mean()
    assert found["health/variance_ratio_formula_1"][0] == pytest.approx(formula)


@pytest.mark.parametrize(
    ("dropout", "ratio"),
    [
        ({"rate": 0.5}, 0.405),  # the values that Li et al. (2018) give for a ReLU of N(0, 1)
        ({"rate": 0.2, "kind": "vanilla"}, 0.732),
        ({"rate": 0.1}, 0.860),
        ({"kind": "uout"}, None),
    ],
)
def test_the_formula_of_the_variance_shift(dropout: dict[str, Any], ratio: float | None) -> None:
    cfg = config({"batch_norm": "after", "dropout": dropout | {"where": "before_bn"}})
    q = noise(cfg.model)
    assert q is not None
    mean, square = 1 / np.sqrt(2 * np.pi), 0.5  # of max(0, x)
    variance = square - mean**2
    found = variance / (q * square - mean**2)
    expected = variance / (variance + square * 0.1**2 / 3) if ratio is None else ratio
    assert found == pytest.approx(expected, abs=1e-9 if ratio is None else 5e-4)
    assert noise(config({"batch_norm": "after", "dropout": dropout}).model) is None


def test_it_changes_no_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        def __init__(self, *_given: Any) -> None:
            pass

        def look(self) -> None:
            pass

        def figures(self, **_settled: bool) -> dict[str, Array]:
            return {}

    model = {"batch_norm": "after", "dropout": 0.3, "activation": "tanh"}
    _, state = trained(config(model), epochs=3, replicates=3)
    monkeypatch.setattr(training, "Health", Blind)
    found, blind = trained(config(model), epochs=3, replicates=3)
    assert not [name for name in found if name.startswith("health/")]
    timed = [name for name in state if name.startswith("seconds.")]
    for name in timed:
        del state[name], blind[name]
    assert_same(state, blind)


def test_a_replicate_has_its_own_figures() -> None:
    model = {"batch_norm": "before", "dropout": 0.3}
    together, _ = trained(config(model), epochs=2, replicates=3)
    alone, _ = trained(config(model), epochs=2)
    for name, values in alone.items():
        if not name.endswith("_seconds"):
            np.testing.assert_equal(together[name][0], values[0], err_msg=name)
    assert len(set(together["health/gradient_norm_1"])) == 3


def test_a_net_without_hidden_layers_has_a_gradient() -> None:
    found, _ = trained(config({"hidden": []}))
    assert [name for name in found if name.startswith("health/")] == ["health/gradient_norm_1"]
