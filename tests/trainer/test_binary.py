"""Nets with one sigmoid for two classes."""

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_replicates import assert_same, check_fused
from trainer.data import Data
from trainer.folding import fold as folded
from trainer.losses import LOSSES, OF_NUMBERS
from trainer.prediction import evaluate, predict
from trainer.rules import ConfigError
from trainer.state import weights
from trainer.training import train

LOSS = "binary_cross_entropy"


@pytest.fixture
def two() -> Data:
    return Data((fold(classes=2),), 2)


def test_one_output_learns_and_predicts_two_classes(two: Data) -> None:
    cfg = config({"batch_norm": "after"}, loss=LOSS, precision="float64")
    progress = train(cfg, two, None, 9, seed=0, replicates=2)
    found = weights(cfg, progress.state)
    assert found["2.weight"].shape == (2, 5, 1)
    assert (progress.metrics["val_accuracy"] > 0.8).all()
    made = two.folds[0]
    scores = evaluate(cfg, found, made.x_val, made.y_val)
    np.testing.assert_array_equal(scores["loss"], progress.metrics["val_loss"])
    odds = predict(cfg, found, made.x_val)
    assert odds.shape == (2, 23, 2)
    np.testing.assert_allclose(odds.sum(axis=2), 1)
    np.testing.assert_allclose(predict(*folded(cfg, found), made.x_val), odds)


@pytest.mark.parametrize("hidden", [[], [1], [7, 5]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("loss", [each for each in LOSSES if each not in OF_NUMBERS])
def test_replicates_and_links(
    hidden: list[int], smoothing: float, loss: str, two: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config({"hidden": hidden}, loss=loss, label_smoothing=smoothing)
    whole = train(cfg, two, None, 4, seed=5, replicates=3)
    half = train(cfg, two, None, 2, seed=5, replicates=3)
    assert_same(train(cfg, two, half.state, 4, seed=5, replicates=3).state, whole.state)
    check_fused(cfg, two, monkeypatch)


def test_needs_two_classes(data: Data) -> None:
    with pytest.raises(ConfigError) as raised:
        train(config(loss=LOSS), data, None, 1, seed=0, replicates=1)
    rule = "training.loss: must be cross_entropy with 3 classes, got 'binary_cross_entropy'"
    assert str(raised.value) == rule
