"""Sensitivity against a plain restatement, and against the gradient that it estimates."""

from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.data import Data
from trainer.prediction import predict
from trainer.sensitivity import NUDGE, WEIGHTS, Sensitivity, sensitivities
from trainer.state import weights
from trainer.training import train

IMAGE = Image(1, 4, 4)
FEATURES = IMAGE.channels * IMAGE.pixels


def trained(model: dict[str, Any], **training: Any) -> tuple[Config, dict[str, Array], Data]:
    data = Data((fold(40, features=FEATURES),), 3, IMAGE)
    cfg = config({"activation": "tanh"} | model, **training)
    return cfg, weights(cfg, train(cfg, data, None, 3, seed=1, replicates=2).state), data


def nudged(cfg: Config, given: dict[str, Array], data: Data) -> list[Sensitivity]:
    x, y = data.folds[0].x_val, data.folds[0].y_val
    return sensitivities(cfg, given, x, y, generator=np.random.default_rng(5))


@pytest.mark.parametrize(
    "model",
    [
        {"hidden": []},
        {"hidden": [7, 5], "batch_norm": "before", "dropout": 0.3},
        {"hidden": [4], "architecture": {"cnn": {"channels": [2]}}},
    ],
    ids=["flat", "mlp", "cnn"],
)
def test_each_layer_by_a_plain_restatement(model: dict[str, Any]) -> None:
    cfg, given, data = trained(model)
    x, y = data.folds[0].x_val.astype(float), data.folds[0].y_val

    def loss(changed: dict[str, Array]) -> Array:
        odds = predict(cfg, changed, x)[0]
        return np.asarray(-np.log(odds[np.arange(len(y)), y]).mean())

    generator = np.random.default_rng(5)
    found = nudged(cfg, given, data)
    assert [each.layer for each in found] == list(range(1, cfg.model.depth + 2))
    for index, layer in enumerate(found):
        name = f"{index}.weight"
        size = given[name][0].size
        assert layer.weights == size
        order = generator.permutation(size)[:WEIGHTS]
        assert len(order) == min(size, WEIGHTS)
        for replicate in range(2):
            mine = {
                key: array[replicate : replicate + 1].astype(float) for key, array in given.items()
            }
            step = NUDGE * float(np.sqrt((mine[name] ** 2).mean()))
            changes = []
            for place in order:
                losses = []
                for sign in (1, -1):
                    moved = mine[name].copy()
                    moved.flat[place] += sign * step
                    losses.append(loss(mine | {name: moved}))
                changes.append(abs(losses[0] - losses[1]) / 2)
            assert layer.nudge[replicate] == pytest.approx(step, rel=1e-12)
            assert layer.change[replicate] == pytest.approx(np.mean(changes), rel=1e-9)


def test_the_slope_of_a_linear_net_is_its_gradient() -> None:
    cfg, given, data = trained({"hidden": []})
    x, y = data.folds[0].x_val.astype(float), data.folds[0].y_val
    error = predict(cfg, {k: v.astype(float) for k, v in given.items()}, x)
    error[:, np.arange(len(y)), y] -= 1
    (layer,) = nudged(cfg, given, data)
    chosen = np.random.default_rng(5).permutation(layer.weights)[:WEIGHTS]
    for replicate in range(2):
        gradient = np.abs(x.T @ error[replicate] / len(y)).ravel()[chosen]
        assert layer.slope[replicate] == pytest.approx(gradient.mean(), rel=1e-5)


def test_nothing_is_written_to_and_zeros_are_nudged() -> None:
    cfg, given, data = trained({"hidden": [5]})
    given["1.weight"][:] = 0
    before = {name: array.copy() for name, array in given.items()}
    first, second = nudged(cfg, given, data)
    for name, array in given.items():
        np.testing.assert_array_equal(array, before[name])
    assert (first.change == 0).all()  # nothing passes a layer of zeros
    assert (second.change > 0).all()
    assert (second.nudge == NUDGE).all()


def test_a_net_that_has_diverged_has_no_sensitivity() -> None:
    cfg, given, data = trained({"hidden": [5]})
    given["0.weight"][1] = np.nan
    for layer in nudged(cfg, given, data):
        assert np.isfinite(layer.change).tolist() == [True, False]
