import numpy as np
import pytest

from tests.trainer.tapes import Bench
from trainer.layers import LEVELS, batch_norm, dropout
from trainer.rules import Technique

NORM = Technique("before", {"epsilon": 1e-5, "momentum": 0.1})


def bits(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, LEVELS, shape, dtype=np.uint16)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.8])
def test_dropout_drops_at_its_rate_and_keeps_the_expectation(rate: float) -> None:
    x = np.ones((1, 1000, 200), np.float32)
    y = Bench(dropout(200, rate), x, training=True, bits=bits(1, 200_000)).y
    assert (y == 0).mean() == pytest.approx(rate, abs=0.005)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-4)
    assert y.mean() == pytest.approx(1, abs=0.02)


def test_dropout_is_the_identity_in_prediction() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 4))
    np.testing.assert_array_equal(Bench(dropout(4, 0.3), x, training=False).y, x)


def test_dropout_may_drop_everything() -> None:
    y = Bench(dropout(4, 0.5), np.ones((1, 3, 4)), training=True, bits=np.zeros((1, 12), "u2")).y
    np.testing.assert_array_equal(y, np.zeros((1, 3, 4)))


def test_masks_of_replicates_and_of_rows_differ() -> None:
    y = Bench(dropout(100, 0.5), np.ones((2, 2, 100)), training=True, bits=bits(2, 200)).y
    assert not np.array_equal(y[0], y[1])
    assert not np.array_equal(y[0, 0], y[0, 1])


def test_batch_norm_in_training() -> None:
    x = np.random.default_rng(0).normal(3.0, 2.0, (2, 50, 4))
    bench = Bench(batch_norm("0", NORM, 4), x, training=True)
    np.testing.assert_allclose(bench.batch["0.mean"], x.mean(axis=1))
    np.testing.assert_allclose(bench.batch["0.variance"], x.var(axis=1))
    expected = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(bench.y, expected, atol=1e-12)


def test_batch_norm_in_prediction() -> None:
    x = np.random.default_rng(0).normal(3.0, 2.0, (1, 5, 2))
    bench = Bench(batch_norm("0", NORM, 2), x, training=False)
    bench.running["0.mean"][:] = [[1.0, 2.0]]
    bench.running["0.variance"][:] = [[4.0, 9.0]]
    bench.values["0.gamma"][:] = [[3.0, 1.0]]
    bench.values["0.beta"][:] = [[0.0, 7.0]]
    bench.tape.run()
    x_hat = (x - [1.0, 2.0]) / np.sqrt(np.array([4.0, 9.0]) + 1e-5)
    np.testing.assert_allclose(bench.y, x_hat * [3.0, 1.0] + [0.0, 7.0])
