import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import checkpoint
from trainer.data import split
from trainer.dataset import DataError, Dataset
from trainer.preprocessing import PREPROCESSING, aligned, fit, transform
from trainer.reading import check
from trainer.rules import Choice, ConfigError, Technique, section, setting
from trainer.selection import ROWS
from trainer.sources import load

X = np.random.default_rng(0).normal(5, 3, (50, 4)).astype(np.float32)
X[:, 2] = 0.1  # constant, and not a number that float32 holds exactly

WHITENING = ["pca", "zca"]


@section
class Chosen:
    """A preprocessing as a study file has it."""

    preprocess: Technique = setting(
        "none", Choice({name: each.parameters for name, each in PREPROCESSING.items()}), "which"
    )


def technique(name: str, **parameters: Any) -> Technique:
    return check(Chosen, {"preprocess": {name: parameters}}).preprocess


def correlated(rows: int, features: int, *, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mix = generator.standard_normal((features, features)) * np.geomspace(0.1, 10, features)
    return (generator.standard_normal((rows, features)) @ mix + 3).astype(np.float32)


def dependent() -> np.ndarray:
    """Seven features that vary in three directions: copies, a sum, and two that are constant."""
    free = correlated(300, 3)
    a, b, c = free.T
    return np.stack([a, b, c, 2 * a, b + c, np.full(300, 0.1), np.zeros(300)], axis=1).astype("f")


@pytest.mark.parametrize("name", PREPROCESSING)
def test_gives_float32_and_leaves_the_rows_alone(name: str) -> None:
    before = X.copy()
    assert transform(fit(technique(name), X), X).dtype == np.float32
    np.testing.assert_array_equal(X, before)


def test_standardize() -> None:
    made = transform(fit(technique("standardize"), X), X)
    np.testing.assert_allclose(made.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(made.std(axis=0), [1, 1, 0, 1], atol=1e-6)


def test_minmax() -> None:
    made = transform(fit(technique("minmax"), X), X)
    np.testing.assert_allclose(made.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(made.max(axis=0), [1, 1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("rows", [1, ROWS, 3 * ROWS + 1])
def test_standardize_whatever_the_number_of_rows(rows: int) -> None:
    x = correlated(rows, 3)
    exact = x.astype(float)
    expected = (exact - exact.mean(axis=0)) / np.where(rows > 1, exact.std(axis=0), 1)
    np.testing.assert_allclose(transform(fit(technique("standardize"), x), x), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["standardize", "minmax"])
def test_a_constant_feature_becomes_zero_on_other_rows_too(name: str) -> None:
    other = np.full((3, 4), 7.0, np.float32)
    assert (transform(fit(technique(name), X), other)[:, 2] == 0).all()


@pytest.mark.parametrize("name", WHITENING)
@pytest.mark.parametrize("rows", [30, ROWS, 2 * ROWS + 7])
def test_whitening_makes_the_covariance_the_identity(name: str, rows: int) -> None:
    x = correlated(rows, 9)
    made = transform(fit(technique(name), x), x).astype(float)
    assert made.shape == x.shape
    np.testing.assert_allclose(made.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(made.T), np.eye(9), atol=1e-4)


def test_pca_drops_null_directions() -> None:
    x = dependent()
    made = transform(fit(technique("pca"), x), x).astype(float)
    assert made.shape == (300, 3)
    np.testing.assert_allclose(np.cov(made.T), np.eye(3), atol=1e-4)


def test_zca_leaves_null_directions_at_zero() -> None:
    x = dependent()
    fitted = fit(technique("zca"), x)
    made = transform(fitted, x).astype(float)
    covariance = np.cov(made.T)
    values = np.linalg.eigvalsh(covariance)
    np.testing.assert_allclose(values, [0, 0, 0, 0, 1, 1, 1], atol=1e-4)
    np.testing.assert_allclose(covariance[5:], 0, atol=1e-6)
    # a row that leaves the training rows' directions gains nothing by it
    away = transform(fitted, x + np.array([0, 0, 0, 0, 0, 50, 50])).astype(float)
    np.testing.assert_allclose(away, made, atol=1e-5)


@pytest.mark.parametrize("name", WHITENING)
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_whitening_against_its_formula(name: str, epsilon: float) -> None:
    """By the singular values of the rows, in the place of the covariance's eigenvalues."""
    x = correlated(200, 5)
    centred = x.astype(float) - x.astype(float).mean(axis=0)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ rows.T @ np.diag((singular**2 / 199 + epsilon) ** -0.5)
    made = transform(fit(technique(name, epsilon=epsilon), x), x)
    if name == "zca":
        np.testing.assert_allclose(made, expected @ rows, atol=1e-5)
    else:  # a direction may point either way
        np.testing.assert_allclose(abs(made), abs(expected), atol=1e-5)


@pytest.mark.parametrize("components", [None, 1, 20])
def test_pca_agrees_with_scikit_learn(components: int | None) -> None:
    from sklearn.decomposition import PCA

    x = load("digits").x
    train, other = x[:1200], x[1200:]
    made = fit(technique("pca", components=components), train)
    width = made["matrix"].shape[1]
    assert width == (components or 61)  # three pixels are 0 in every digit
    theirs = PCA(width, whiten=True, svd_solver="full").fit(train.astype(float))
    np.testing.assert_allclose(transform(made, other), theirs.transform(other), atol=2e-4)


@given(
    rows=st.integers(1, 40),
    features=st.integers(1, 12),
    scale=st.sampled_from([1e-6, 1.0, 255.0, 1e6]),
    name=st.sampled_from(list(PREPROCESSING)),
)
def test_never_nan(rows: int, features: int, scale: float, name: str) -> None:
    x = correlated(rows, features) * np.float32(scale)
    x[:, ::3] = np.float32(0.1 * scale)
    try:
        fitted = fit(technique(name), x)
    except DataError:
        assert name == "pca"
        assert (x == x[0]).all()
        return
    assert np.isfinite(transform(fitted, x)).all()
    assert np.isfinite(transform(fitted, x[:0])).all()


def test_zca_of_equal_rows_is_zero() -> None:
    x = np.full((5, 3), 0.1, np.float32)
    assert (transform(fit(technique("zca"), x), x) == 0).all()


def test_pca_of_equal_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="pca: must have training rows that differ"):
        fit(technique("pca"), np.full((5, 3), 0.1, np.float32))


def test_too_many_components() -> None:
    with pytest.raises(DataError, match=r"pca\.components: must be at most 3.*, got 4"):
        fit(technique("pca", components=4), dependent())


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"pca": {"components": 0}}, r"pca\.components: must be at least 1, got 0"),
        ({"zca": {"epsilon": -1}}, r"zca\.epsilon: must be at least 0, got -1"),
        ({"zca": {"components": 3}}, r"zca\.components: is not a field"),
    ],
)
def test_bad_parameters(found: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(Chosen, {"preprocess": found})


def test_folds_have_the_same_features() -> None:
    """A feature that varies in one row alone is constant in the fold that validates on it."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((60, 4)).astype(np.float32)
    x[:, 3] = 0
    x[7, 3] = 0.5
    dataset = Dataset(x, np.arange(60) % 2, ("a", "b"), (x[:3], np.zeros(3, np.int64)))
    splits = split(dataset, validation=0.2, test=None, folds=3, preprocess=technique("pca"), seed=0)
    assert {made.x_train.shape[1] for made in splits.data.folds} == {3}
    assert {made.x_val.shape[1] for made in splits.data.folds} == {3}
    assert splits.test(2)[0].shape == (3, 3)


def test_alignment_keeps_the_strongest() -> None:
    narrow, wide = (fit(technique("pca"), x) for x in (dependent(), correlated(99, 7)))
    first, second = aligned([narrow, wide])
    assert first["matrix"].shape == second["matrix"].shape == (7, 3)
    np.testing.assert_array_equal(second["matrix"], wide["matrix"][:, :3])
    strength = np.linalg.norm(wide["matrix"], axis=0)  # 1/√Λ
    assert (np.diff(strength) > 0).all()
    plain = [fit(technique("minmax"), X), fit(technique("minmax"), X)]
    assert aligned(plain) == tuple(plain)


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("name", ["standardize", *WHITENING])
def test_memory_is_bounded(name: str) -> None:
    """Beside its result it takes little: a tenth of the rows in float64."""
    x = np.random.default_rng(0).random((40_000, 64), np.float32)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    fitted = fit(technique(name), x)
    assert tracemalloc.get_traced_memory()[1] - before < x.nbytes / 5
    made = transform(fitted, x)
    assert tracemalloc.get_traced_memory()[1] - before - made.nbytes < x.nbytes / 5


@pytest.mark.parametrize("name", PREPROCESSING)
def test_a_checkpoint_gives_the_same_bits_again(name: str, tmp_path: Path) -> None:
    x = correlated(40, 6)
    (fitted,) = aligned([fit(technique(name), x)])
    checkpoint.save(tmp_path / "fitted.npz", fitted, {})
    read = checkpoint.load(tmp_path / "fitted.npz").arrays
    np.testing.assert_array_equal(transform(read, x), transform(fitted, x))
