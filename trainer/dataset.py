"""Data sets: rows with labels or with numbers to predict, checked and brought to their types."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainer.arrays import Array
from trainer.convolution import Image
from trainer.selection import ROWS


class DataError(ValueError):
    """Data that are absent, broken or of no use for the task."""


class Unseen(DataError):
    """Data that can't be looked at here: a file that is not there, code that may not be run."""


@dataclass(frozen=True)
class Dataset:
    """Rows with labels, or with numbers to predict.

    Attributes:
        x: features (N, D), float32; if they are large a `Selection` in the place of an array.
        y: labels (N,), int64, counting into `classes`; or numbers (N, K), float64.
        classes: the classes' names, none with numbers.
        test: x and y of the source's own test split.
        image: the shape of a row's features, channel by channel, if they are those of an image.
        targets: the names of the numbers, none with labels.
    """

    x: Array
    y: Array
    classes: tuple[str, ...]
    test: tuple[Array, Array] | None = None
    image: Image | None = None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """What a source holds, as it is found there.

    Attributes:
        place: where it comes from, for the messages.
        x: rows of numbers (N, …) of any shape and type. Those of three axes are images (N, H, W),
            those of four have channels, (N, C, H, W) or, with at most four channels, (N, H, W, C).
        y: a number for each row (N,), or several (N, K).
        test: x and y of a test split, with rows of the same shape.
        names: of the classes that y counts into; by default those are what occurs in y, in order.
        target: what y is called.
    """

    place: str
    x: Array
    y: Array
    test: tuple[Array, Array] | None = None
    names: tuple[str, ...] = ()
    target: str = "y"


def labelled(content: Content) -> Dataset:
    """The data set of a source whose y are labels, whole numbers.

    Raises:
        DataError: with the rule that it breaks and the values.
    """
    place, names = content.place, content.names
    x, test_x, image = _rows(content)
    y = _labels(place, content.y, len(x))
    labels = np.arange(len(names)) if names else np.unique(y)
    if len(np.unique(y)) < 2:
        raise DataError(f"{place}: must have at least two classes, got one ({y[0]})")
    test = None
    if content.test is not None:
        y_test = _labels(f"{place}, test split", content.test[1], len(test_x))
        test = test_x, _coded(f"{place}, test split", y_test, labels)
    classes = names or tuple(str(label) for label in labels)
    return Dataset(x, _coded(place, y, labels), classes, test, image)


def measured(content: Content) -> Dataset:
    """The data set of a source whose y are numbers to predict.

    Raises:
        DataError: with the rule that it breaks and the values.
    """
    place = content.place
    if content.names:
        raise DataError(f"{place}: targets must be numbers, got words such as {content.names[0]!r}")
    x, test_x, image = _rows(content)
    y = _numbers(place, content.y, len(x))
    if (y == y[0]).all(axis=0).any():
        raise DataError(f"{place}: targets must differ among the rows, got one that is the same")
    test = None
    if content.test is not None:
        test = test_x, _numbers(f"{place}, test split", content.test[1], len(test_x))
        if test[1].shape[1] != y.shape[1]:
            shapes = f"{y.shape[1]} and {test[1].shape[1]}"
            raise DataError(f"{place}: both splits must have as many targets, got {shapes}")
    count = y.shape[1]
    names = [content.target] if count == 1 else [f"{content.target}{each}" for each in range(count)]
    return Dataset(x, y, (), test, image, tuple(names))


def only(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The rows of some classes, which are counted in the order given.

    Raises:
        DataError: there is no such class, or there are no two different ones.
    """
    for name in classes:
        if name not in dataset.classes:
            known = ", ".join(dataset.classes)
            raise DataError(f"must be among the classes of the data, {known}, got {name}")
    if len(set(classes)) < max(2, len(classes)):
        raise DataError(f"must be two or more different classes, got {', '.join(classes)}")
    codes = np.full(len(dataset.classes), -1)
    codes[[dataset.classes.index(name) for name in classes]] = np.arange(len(classes))

    def part(x: Array, y: Array) -> tuple[Array, Array]:
        rows = codes[y] >= 0
        return x[rows], codes[y[rows]]

    x, y = part(dataset.x, dataset.y)
    test = part(*dataset.test) if dataset.test else None
    return replace(dataset, x=x, y=y, classes=tuple(classes), test=test)


def _rows(content: Content) -> tuple[Array, Array, Image | None]:
    """The rows (N, D) in float32, those of the test split, and the shape of an image."""
    place, x = content.place, content.x
    x_test = x[:0] if content.test is None else content.test[0]
    if x_test.shape[1:] != x.shape[1:]:
        shapes = f"{x_test.shape[1:]} and {x.shape[1:]}"
        raise DataError(f"{place}: rows of both splits must have the same shape, got {shapes}")
    if x.ndim == 4 and x.shape[3] <= 4 < x.shape[1]:
        x, x_test = np.moveaxis(x, 3, 1), np.moveaxis(x_test, 3, 1)
    shape = (1, *x.shape[1:]) if x.ndim == 3 else x.shape[1:]
    image = Image(*shape) if len(shape) == 3 else None
    flat = _flat(place, x)
    if content.test is None:
        return flat, flat[:0], image
    return flat, _flat(f"{place}, test split", x_test), image


def _flat(place: str, x: Array) -> Array:
    if x.ndim < 2 or x.size == 0 or x.dtype.kind not in "biuf":
        raise DataError(f"{place}: x must be rows of numbers, got {x.dtype} {x.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        # rows that are float32 already are not copied: they may take half of the memory
        rows = x.reshape(len(x), -1).astype(np.float32, copy=False)
    if not all(np.isfinite(each).all() for each in np.array_split(rows, -(-len(rows) // ROWS))):
        raise DataError(f"{place}: features must be finite numbers, got NaN or infinity")
    return rows


def _labels(place: str, y: Array, rows: int) -> Array:
    """Labels (N,) in int64."""
    if y.shape != (rows,):
        raise DataError(f"{place}: y must have one label a row, got {y.shape} for {rows} rows")
    if y.dtype.kind not in "biuf":
        raise DataError(f"{place}: labels must be whole numbers, got {y.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        labels = y.astype(np.int64)
    if (labels != y).any():
        wrong = y[labels != y][0]
        raise DataError(f"{place}: labels must be whole numbers below 2^63, got {wrong}")
    return labels


def _numbers(place: str, y: Array, rows: int) -> Array:
    """Targets (N, K) in float64."""
    if y.ndim not in (1, 2) or len(y) != rows or y.size == 0:
        raise DataError(f"{place}: y must be ({rows},) or ({rows}, K) numbers, got {y.shape}")
    if y.dtype.kind not in "biuf":
        raise DataError(f"{place}: targets must be numbers, got {y.dtype}")
    found = y.reshape(rows, -1).astype(np.float64)
    if not np.isfinite(found).all():
        raise DataError(f"{place}: targets must be finite numbers, got NaN or infinity")
    return found


def _coded(place: str, y: Array, labels: Array) -> Array:
    unknown = np.setdiff1d(y, labels)
    if len(unknown):
        raise DataError(f"{place}: labels must be among {labels.tolist()}, got {unknown[0]}")
    return np.searchsorted(labels, y)
