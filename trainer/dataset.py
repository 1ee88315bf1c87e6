"""Data sets: labelled rows, checked and brought to their types."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainer.arrays import Array
from trainer.convolution import Image
from trainer.selection import ROWS


class DataError(ValueError):
    """Data that are absent, broken or of no use for classification."""


@dataclass(frozen=True)
class Dataset:
    """Labelled rows.

    Attributes:
        x: features (N, D), float32; if they are large a `Selection` in the place of an array.
        y: labels (N,), int64, counting into `classes`.
        classes: the classes' names.
        test: x and y of the source's own test split.
        image: the shape of a row's features, channel by channel, if they are those of an image.
    """

    x: Array
    y: Array
    classes: tuple[str, ...]
    test: tuple[Array, Array] | None = None
    image: Image | None = None


def checked(
    place: str,
    x: Array,
    y: Array,
    test: tuple[Array, Array] | None = None,
    names: tuple[str, ...] = (),
) -> Dataset:
    """The data set of these arrays.

    Args:
        place: where they come from, for the messages.
        x: rows of numbers (N, …) of any shape and type. Those of three axes are images (N, H, W),
            those of four have channels, (N, C, H, W) or, with at most four channels, (N, H, W, C).
        y: a whole number for each row (N,).
        test: x and y of a test split, with rows of the same shape and no further labels.
        names: the classes that the labels count into; by default the labels that occur in y, in
            order.

    Raises:
        DataError: with the rule that they break and the values.
    """
    if test is not None and test[0].shape[1:] != x.shape[1:]:
        shapes = f"{test[0].shape[1:]} and {x.shape[1:]}"
        raise DataError(f"{place}: rows of both splits must have the same shape, got {shapes}")
    last = x.ndim == 4 and x.shape[3] <= 4 < x.shape[1]
    if last:
        x = np.moveaxis(x, 3, 1)
        test = None if test is None else (np.moveaxis(test[0], 3, 1), test[1])
    shape = (1, *x.shape[1:]) if x.ndim == 3 else x.shape[1:]
    image = Image(*shape) if len(shape) == 3 else None
    x, y = _typed(place, x, y)
    labels = np.arange(len(names)) if names else np.unique(y)
    if len(np.unique(y)) < 2:
        raise DataError(f"{place}: must have at least two classes, got one ({y[0]})")
    if test is not None:
        x_test, y_test = _typed(f"{place}, test split", *test)
        test = (x_test, _coded(f"{place}, test split", y_test, labels))
    classes = names or tuple(str(label) for label in labels)
    return Dataset(x, _coded(place, y, labels), classes, test, image)


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


def _typed(place: str, x: Array, y: Array) -> tuple[Array, Array]:
    """Rows (N, D) in float32 and labels (N,) in int64."""
    if x.ndim < 2 or x.size == 0 or x.dtype.kind not in "biuf":
        raise DataError(f"{place}: x must be rows of numbers, got {x.dtype} {x.shape}")
    if y.shape != x.shape[:1]:
        raise DataError(f"{place}: y must have one label a row, got {y.shape} for {x.shape}")
    if y.dtype.kind not in "biuf":
        raise DataError(f"{place}: labels must be whole numbers, got {y.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        # rows that are float32 already are not copied: they may take half of the memory
        rows, labels = x.reshape(len(x), -1).astype(np.float32, copy=False), y.astype(np.int64)
    if (labels != y).any():
        wrong = y[labels != y][0]
        raise DataError(f"{place}: labels must be whole numbers below 2^63, got {wrong}")
    if not all(np.isfinite(each).all() for each in np.array_split(rows, -(-len(rows) // ROWS))):
        raise DataError(f"{place}: features must be finite numbers, got NaN or infinity")
    return rows, labels


def _coded(place: str, y: Array, labels: Array) -> Array:
    unknown = np.setdiff1d(y, labels)
    if len(unknown):
        raise DataError(f"{place}: labels must be among {labels.tolist()}, got {unknown[0]}")
    return np.searchsorted(labels, y)
