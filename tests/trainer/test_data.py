import numpy as np
import pytest

from trainer.data import split
from trainer.dataset import DataError, Dataset
from trainer.rules import Technique
from trainer.sources import load

NONE, STANDARDIZE = Technique("none"), Technique("standardize")


def dataset(rows: int = 100, *, own_test: bool = False) -> Dataset:
    """Rows that tell their own number."""
    x = np.arange(rows, dtype=np.float32)[:, None]
    test = (-x[:5] - 1, np.zeros(5, np.int64)) if own_test else None
    return Dataset(x, np.arange(rows) % 3, ("a", "b", "c"), test)


def test_every_row_is_used_once() -> None:
    splits = split(dataset(), validation=0.25, test=0.2, folds=None, preprocess=NONE, seed=0)
    (made,) = splits.data.folds
    assert [len(part) for part in (made.y_train, made.y_val, splits.test()[1])] == [60, 20, 20]
    rows = np.concatenate([made.x_train, made.x_val, splits.test()[0]])
    assert sorted(rows[:, 0]) == list(range(100))
    for x, y in ((made.x_train, made.y_train), (made.x_val, made.y_val), splits.test()):
        np.testing.assert_array_equal(x[:, 0] % 3, y)


def test_seeded() -> None:
    parts = [
        split(dataset(), validation=0.2, test=0.2, folds=None, preprocess=NONE, seed=seed)
        for seed in (0, 0, 1)
    ]
    one, same, other = (each.data.folds[0].x_val for each in parts)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_sources_own_test_split() -> None:
    arguments = {"validation": 0.2, "folds": None, "preprocess": NONE, "seed": 0}
    own = split(dataset(own_test=True), test=None, **arguments)  # type: ignore[arg-type]
    assert (own.test()[0] < 0).all()
    assert len(own.data.folds[0].y_train) == 80
    cut = split(dataset(own_test=True), test=0.1, **arguments)  # type: ignore[arg-type]
    assert (cut.test()[0] >= 0).all()
    default = split(dataset(), test=None, **arguments)  # type: ignore[arg-type]
    assert len(default.test()[1]) == 20


def test_folds_validate_every_row_once() -> None:
    splits = split(dataset(), validation=0.2, test=0.1, folds=4, preprocess=NONE, seed=0)
    assert [len(made.y_val) for made in splits.data.folds] == [23, 23, 22, 22]
    tested = set(splits.test()[0][:, 0])
    held = np.concatenate([made.x_val[:, 0] for made in splits.data.folds])
    assert sorted(held) == sorted(set(range(100)) - tested)
    for made in splits.data.folds:
        assert not set(made.x_train[:, 0]) & (set(made.x_val[:, 0]) | tested)


def test_preprocessing_sees_training_rows_only() -> None:
    splits = split(dataset(), validation=0.2, test=0.2, folds=None, preprocess=STANDARDIZE, seed=0)
    (made,) = splits.data.folds
    np.testing.assert_allclose(made.x_train.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(made.x_train.std(), 1, atol=1e-6)
    raw = splits.raw_test[0]
    shift, scale = splits.preprocessing[0]["shift"], splits.preprocessing[0]["scale"]
    np.testing.assert_allclose(splits.test()[0], (raw - shift) * scale, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0.001}, r"data\.validation: must split 80 rows"),
        ({"test": 0.999}, r"data\.test: must split 100 rows"),
        ({"folds": 81}, r"data\.folds: must be at most the 80 rows"),
    ],
)
def test_empty_parts(options: dict[str, float], message: str) -> None:
    arguments = {"validation": 0.2, "test": 0.2, "folds": None, **options}
    with pytest.raises(DataError, match=message):
        split(dataset(), preprocess=NONE, seed=0, **arguments)  # type: ignore[arg-type]


def test_digits() -> None:
    digits = load("digits")
    assert digits.x.shape == (1797, 64)
    assert digits.classes == tuple("0123456789")
    splits = split(digits, validation=0.2, test=0.2, folds=None, preprocess=STANDARDIZE, seed=0)
    assert np.isfinite(splits.data.folds[0].x_val).all()
