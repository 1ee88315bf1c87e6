import numpy as np
import pytest

from tests.trainer.conftest import config
from trainer.data import Data
from trainer.prediction import ROWS, evaluate, predict
from trainer.state import weights
from trainer.training import train


@pytest.mark.parametrize("rows", [1, 5, ROWS, ROWS + 1, 2 * ROWS + 7])
def test_probabilities_and_scores_agree(data: Data, rows: int) -> None:
    cfg = config({"batch_norm": "after", "dropout": 0.5}, precision="float64")
    found = weights(cfg, train(cfg, data, None, 1, seed=0, replicates=2).state)
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((rows, 6)), generator.integers(0, 3, rows)
    odds = predict(cfg, found, x)
    assert odds.shape == (2, rows, 3)
    np.testing.assert_allclose(odds.sum(axis=2), 1)
    scores = evaluate(cfg, found, x, y)
    np.testing.assert_allclose(scores["loss"], -np.log(odds[:, np.arange(rows), y]).mean(axis=1))
    np.testing.assert_array_equal(scores["accuracy"], (odds.argmax(axis=2) == y).mean(axis=1))


def test_a_plain_forward_pass(data: Data) -> None:
    cfg = config({"activation": "tanh", "batch_norm": "before"}, precision="float64")
    found = weights(cfg, train(cfg, data, None, 2, seed=0, replicates=2).state)
    x = data.folds[0].x_val.astype(float)
    for replicate in range(2):
        w = {name: array[replicate] for name, array in found.items()}
        h = x
        for layer in ("0", "1"):
            z = h @ w[f"{layer}.weight"] - w[f"{layer}.mean"]
            z = z / np.sqrt(w[f"{layer}.variance"] + 1e-5)
            h = np.tanh(w[f"{layer}.gamma"] * z + w[f"{layer}.beta"])
        z = np.exp(h @ w["2.weight"] + w["2.bias"])
        odds = predict(cfg, found, x)[replicate]
        np.testing.assert_allclose(odds, z / z.sum(axis=1, keepdims=True))
