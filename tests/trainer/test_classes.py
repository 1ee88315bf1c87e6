"""The rows of some classes of a data set."""

import numpy as np
import pytest

from trainer.dataset import DataError, Dataset, only

X = np.arange(12, dtype=np.float32).reshape(6, 2)
DATA = Dataset(X, np.array([0, 1, 2, 0, 2, 1]), ("cat", "dog", "cow"), (X[:3], np.array([2, 1, 0])))


def test_rows_and_labels_of_these_classes_in_their_order() -> None:
    found = only(DATA, ["cow", "cat"])
    assert found.classes == ("cow", "cat")
    assert found.y.tolist() == [1, 0, 1, 0]
    assert np.array_equal(found.x, X[[0, 2, 3, 4]])
    assert found.test is not None
    assert found.test[1].tolist() == [0, 1]
    assert np.array_equal(found.test[0], X[[0, 2]])


@pytest.mark.parametrize(
    ("classes", "rule"),
    [
        (["cat", "cod"], "must be among the classes of the data, cat, dog, cow, got cod"),
        (["cat"], "must be two or more different classes, got cat"),
        (["cat", "cow", "cat"], "must be two or more different classes, got cat, cow, cat"),
        ([], "must be two or more"),
    ],
)
def test_classes_of_no_use(classes: list[str], rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        only(DATA, classes)
