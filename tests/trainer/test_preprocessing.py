import numpy as np
import pytest

from trainer.preprocessing import PREPROCESSING, fit, transform
from trainer.rules import Technique

X = np.random.default_rng(0).normal(5, 3, (50, 4)).astype(np.float32)
X[:, 2] = 0.1  # constant, and not a number that float32 holds exactly


@pytest.mark.parametrize("name", PREPROCESSING)
def test_gives_float32_and_leaves_the_rows_alone(name: str) -> None:
    before = X.copy()
    assert transform(fit(Technique(name), X), X).dtype == np.float32
    np.testing.assert_array_equal(X, before)


def test_standardize() -> None:
    made = transform(fit(Technique("standardize"), X), X)
    np.testing.assert_allclose(made.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(made.std(axis=0), [1, 1, 0, 1], atol=1e-6)


def test_minmax() -> None:
    made = transform(fit(Technique("minmax"), X), X)
    np.testing.assert_allclose(made.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(made.max(axis=0), [1, 1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("name", ["standardize", "minmax"])
def test_a_constant_feature_becomes_zero_on_other_rows_too(name: str) -> None:
    other = np.full((3, 4), 7.0, np.float32)
    assert (transform(fit(Technique(name), X), other)[:, 2] == 0).all()
