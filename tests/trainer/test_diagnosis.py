"""Nets with an illness each are told what ails them; a healthy one is told nothing."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.trainer.conftest import config
from trainer.data import Data, split
from trainer.dataset import Content, labelled
from trainer.diagnosis import diagnose, hopeless
from trainer.rules import Technique
from trainer.training import train


@pytest.fixture(scope="module")
def digits() -> Data:
    x, y = load_digits(return_X_y=True)
    preprocess = Technique("standardize", {})
    made = split(
        labelled(Content("digits", x, y)),
        validation=0.2,
        test=0.2,
        folds=None,
        preprocess=preprocess,
        seed=0,
    )
    return made.data


def verdict(digits: Data, model: dict[str, Any], **training: Any) -> list[str]:
    settings = {"batch_size": 64, "learning_rate": 0.001, **training}
    cfg = config({"hidden": [32, 32], **model}, **settings)
    progress = train(cfg, digits, None, cfg.training.epochs, seed=0, replicates=2)
    return diagnose({name: values[-1].mean() for name, values in progress.history.items()})


def test_a_healthy_net(digits: Data) -> None:
    assert verdict(digits, {"activation": "elu", "batch_norm": "after"}, epochs=12) == []


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_young_net_is_not_said_to_shift(digits: Data, epochs: int) -> None:
    """Its running statistics still remember their start, which says nothing of its batches."""
    model = {"batch_norm": "before", "init": {"normal": {"sigma": 0.05}}}
    found = verdict(digits, model, epochs=epochs)
    assert not [each for each in found if each.startswith("variance shift")]


def test_deep_sigmoids_with_small_weights(digits: Data) -> None:
    found = verdict(digits, {"hidden": [32] * 6, "activation": "sigmoid", "init": "normal"})
    assert found[0].startswith("vanishing gradients: layer 1 gets ")
    assert found[-1].startswith("does not fit train (0.")
    assert "try another activation" in found[-1]


def test_of_what_is_no_net_of_ours_nothing_is_advised() -> None:
    assert diagnose({"train_accuracy": 0.5, "val_accuracy": 0.5}) == ["does not fit train (0.500)"]


def test_a_rate_that_kills_rectifiers(digits: Data) -> None:
    found = verdict(digits, {"activation": "relu"}, optimizer="sgd", learning_rate=3.0)
    assert any(" % of layer 2 is dead" in each for each in found), found


def test_saturated_units(digits: Data) -> None:
    found = verdict(digits, {"activation": "tanh", "init": {"normal": {"sigma": 1.0}}}, epochs=2)
    assert any(" % of layer 1 is saturated" in each for each in found), found


def test_dropout_before_batch_norm(digits: Data) -> None:
    model = {"batch_norm": "after", "dropout": {"rate": 0.5, "where": "before_bn"}}
    found = verdict(digits, model, epochs=20)
    assert any(each.startswith("variance shift: batch norm 1 meets 0.") for each in found), found


def test_which_nets_no_training_can_help(digits: Data) -> None:
    def cause(model: dict[str, Any], **training: Any) -> str | None:
        settings = {"batch_size": 64, "learning_rate": 0.001, "epochs": 3, **training}
        cfg = config({"hidden": [32, 32], **model}, **settings)
        progress = train(cfg, digits, None, cfg.training.epochs, seed=0, replicates=2)
        return hopeless(progress.history)

    assert cause({"hidden": [32] * 4}, learning_rate=1.0) == "all of layer 4 is dead"
    constant = {"activation": "sigmoid", "init": {"normal": {"sigma": 1e-4}}, "hidden": [32] * 8}
    assert str(cause(constant, optimizer="sgd")).startswith("layer 1 gets ")
    huge = {"activation": "tanh", "init": {"normal": {"sigma": 1e5}}}  # saturated: random features
    assert cause(huge, epochs=8) is None
    for healthy in ("relu", "tanh", "sigmoid", "elu"):
        assert cause({"activation": healthy}) is None
    assert cause({"hidden": [32] * 6, "activation": "sigmoid", "init": "normal"}) is None


def test_a_training_returns_as_soon_as_nothing_can_help(digits: Data) -> None:
    cfg = config({"hidden": [32] * 4}, batch_size=64, learning_rate=1.0, epochs=9)
    judged = train(cfg, digits, None, 6, seed=0, replicates=2, judged=True)
    whole = train(cfg, digits, None, 6, seed=0, replicates=2)
    assert (judged.hopeless, whole.hopeless) == (True, False)
    assert (judged.epoch, whole.epoch, judged.finished) == (1, 6, False)
    np.testing.assert_array_equal(judged.history["val_loss"], whole.history["val_loss"][:1])
    well = config({"hidden": [32]}, batch_size=64, learning_rate=0.01, epochs=9)
    assert train(well, digits, None, 6, seed=0, replicates=2, judged=True).epoch == 6


def test_figures_speak_for_themselves() -> None:
    assert diagnose({}) == []
    assert diagnose({"train_accuracy": 0.99, "val_accuracy": 0.9}) == [
        "fits train (0.990), not validation (0.900): regularise"
    ]
    assert diagnose({"health/gradient_norm_1": 2e5, "health/gradient_norm_2": 1.0}) == [
        "exploding gradients: that of layer 1 has norm 2e+05"
    ]
    assert diagnose({"health/gradient_norm_1": 0.0, "health/gradient_norm_2": 1.0}) == [
        "vanishing gradients: layer 1 gets nothing of the top layer's gradient"
    ]
    assert diagnose({"health/dead_2": 0.43}) == ["43 % of layer 2 is dead"]


def history(**last: float | tuple[float, float]) -> dict[str, np.ndarray]:
    """Two epochs of two replicates: zeros, then these figures."""
    return {
        f"health/{name}": np.array([(0.0, 0.0), np.broadcast_to(values, 2)])
        for name, values in last.items()
    }


def test_what_no_training_can_help() -> None:
    assert hopeless({}) is None
    assert hopeless(history(dead_2=1.0, dead_1=0.4)) == "all of layer 2 is dead"
    beyond = history(gradient_norm_1=2e20)
    assert hopeless(beyond) == "the gradient of layer 1 has norm 2e+20"
    assert hopeless(history(gradient_norm_1=2e6)) is None  # Adam does not mind
    nothing = {"gradient_norm_1": 1e-20, "gradient_norm_2": 1.0, "mean_1": 0.5}
    told = "layer 1 gets 1e-20 of a gradient, the top the same of every row"
    assert hopeless(history(**nothing, variance_1=1e-8)) == told
    assert hopeless(history(**nothing, variance_1=0.1)) is None  # the top has something to learn of
    by_heart = nothing | {"gradient_norm_2": 1e-20, "variance_1": 1e-8}
    assert hopeless(history(**by_heart)) is None


def test_all_replicates_must_be_beyond_help() -> None:
    assert hopeless(history(dead_1=(1.0, 0.9))) is None
    assert hopeless(history(dead_1=(np.nan, 1.0))) is None  # the first has stopped, and ended well
    assert hopeless(history(gradient_norm_1=(1e20, 1.0))) is None
