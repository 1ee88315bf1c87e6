import numpy as np

from tests.trainer.tapes import Bench
from trainer.layers import batch_norm
from trainer.rules import Technique

NORM = Technique("before", {"epsilon": 1e-5, "momentum": 0.1})


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
