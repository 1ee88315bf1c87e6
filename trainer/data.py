"""Data: rows from their sources, checked, split and preprocessed. Nothing here is written to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from trainer.arrays import Array
from trainer.convolution import Image
from trainer.dataset import DataError, Dataset
from trainer.preprocessing import Fitted, aligned, arranged, blocks, fit, transform
from trainer.resizing import Size, resized, resizing
from trainer.rules import Technique
from trainer.selection import Features, Selection, all_of
from trainer.streams import Purpose, generator
from trainer.table import Table, stored
from trainer.tasks import CLASSIFICATION, REGRESSION, Task


@dataclass(frozen=True)
class Fold:
    """Training and validation rows: x (N, D) float32, y (N,) int64, or numbers (N, K) float64.

    Of a data set on disk x is a `Selection`, which nets of ours read as they read an array.
    """

    x_train: Array
    y_train: Array
    x_val: Array
    y_val: Array


@dataclass(frozen=True)
class Data:
    """One fold that all replicates share, or one for each replicate; y counts 0 … classes-1.

    With no classes y are numbers to predict.

    Attributes:
        image: the shape of the features, channel by channel, if they are the pixels of one.
        sources: the weights (R, …) of models that nets may start from, by the model's name.
    """

    folds: tuple[Fold, ...]
    classes: int
    image: Image | None = None
    sources: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """What can be learnt of it."""
        return CLASSIFICATION if self.classes else REGRESSION

    @property
    def outputs(self) -> int:
        """K: the classes, or the numbers to predict."""
        return self.classes or int(self.folds[0].y_train.shape[1])

    def fold(self, replicate: int) -> Fold:
        """The fold of a replicate."""
        return self.folds[0] if len(self.folds) == 1 else self.folds[replicate]

    @property
    def tables(self) -> set[Table]:
        """What a machine must have on disk before it trains on them."""
        parts: list[Features] = [x for each in self.folds for x in (each.x_train, each.x_val)]
        return {part.table for part in parts if isinstance(part, Selection)}


@dataclass(frozen=True)
class Splits:
    """What a study trains and validates on, and what its winner is tested on.

    Attributes:
        data: training and validation rows, preprocessed.
        raw_test: x (n, D) and y (n,) or (n, K) of the test rows, not yet preprocessed.
        preprocessing: the arrays of `preprocessing.transform` for each fold.
    """

    data: Data
    raw_test: tuple[Array, Array]
    preprocessing: tuple[Fitted, ...]

    def test(self, fold: int = 0) -> tuple[Array, Array]:
        """The test rows, preprocessed as this fold's training rows are."""
        x, y = self.raw_test
        return transform(self.preprocessing[fold], x), y


def split(
    dataset: Dataset,
    *,
    validation: float,
    test: float | None,
    folds: int | None,
    preprocess: Technique,
    seed: int,
    size: Size | None = None,
    scored: bool = True,
) -> Splits:
    """Splits a data set: test rows first, then one validation split, or `folds` of them.

    Args:
        dataset: where the rows come from.
        validation: share of the rows left by the test split that validate; unused with folds.
        test: share of all rows that is kept for the test; None takes the source's own test split,
            or 0.2 where it has none.
        folds: each replicate validates on one of so many parts and trains on the others.
        preprocess: fitted on the training rows only.
        seed: the study's seed.
        size: what images are resized to first.
        scored: whether every part must have an R², if there are numbers to predict.

    Raises:
        DataError: a part would be empty or without R², or cannot be preprocessed as is asked.
    """
    order = generator(seed=seed, purpose=Purpose.SPLIT).permutation(len(dataset.y))
    tested = (dataset.x[:0], dataset.y[:0])
    if test is None and dataset.test is not None:
        tested = dataset.test
    else:
        count = _share(len(order), 0.2 if test is None else test, "data.test")
        tested, order = (dataset.x[order[:count]], dataset.y[order[:count]]), order[count:]
    if folds is None:
        parts = [order[: _share(len(order), validation, "data.validation")]]
    elif folds > len(order):
        raise DataError(f"data.folds: must be at most the {len(order)} rows there are, got {folds}")
    else:
        parts = np.array_split(order, folds)
    trained = [order[len(part) :] if folds is None else np.setdiff1d(order, part) for part in parts]
    if scored and dataset.targets:
        field = "data.source" if tested is dataset.test else "data.test"
        _scored(dataset, field, "test", tested[1])
        field = "data.validation" if folds is None else "data.folds"
        for part, train in zip(parts, trained, strict=True):
            _scored(dataset, field, "validation", dataset.y[part])
            _scored(dataset, field, "training", dataset.y[train])
    sizing: Fitted = {}
    if size is not None:
        if dataset.image is None:
            raise DataError("data.resize: must be left out, the features are no image")
        sizing = resizing(dataset.image, size)
        dataset = replace(dataset, x=_resized(sizing, dataset.x, dataset.image, size))
    fitted = aligned([fit(preprocess, dataset.x[train]) for train in trained])
    made = tuple(
        Fold(
            arranged(arrays, dataset.x[train]),
            dataset.y[train],
            arranged(arrays, dataset.x[part]),
            dataset.y[part],
        )
        for arrays, train, part in zip(fitted, trained, parts, strict=True)
    )
    data = Data(made, len(dataset.classes), pictured(dataset, preprocess, size))
    return Splits(data, tested, tuple(arrays | sizing for arrays in fitted))


def _resized(sizing: Fitted, x: Features, image: Image, size: Size) -> Array:
    if not isinstance(x, Selection):
        return resized(sizing, x)
    made = (resized(sizing, block) for block in blocks(x))
    return all_of(stored(made, (len(x), image.channels * size.height * size.width)))


def few(data: Data, per_class: int, *, seed: int, replicates: range) -> Data:
    """The data with so many training rows of each class, drawn for each replicate by itself.

    Those of a smaller number are among those of a larger one; of a class with fewer all are taken.
    """
    folds = []
    for place, replicate in enumerate(replicates):
        fold = data.fold(place)
        order = generator(seed=seed, purpose=Purpose.ROWS, replicate=replicate).permutation(
            len(fold.y_train)
        )
        labels = fold.y_train[order]
        drawn = [order[labels == label][:per_class] for label in range(data.classes)]
        rows = np.concatenate(drawn)
        folds.append(replace(fold, x_train=fold.x_train[rows], y_train=fold.y_train[rows]))
    return replace(data, folds=tuple(folds))


def pictured(dataset: Dataset, preprocess: Technique, size: Size | None = None) -> Image | None:
    """The shape of the images that are left after preprocessing: PCA leaves none."""
    if preprocess.name == "pca" or dataset.image is None:
        return None
    return Image(dataset.image.channels, *(size or dataset.image[1:]))


def _scored(dataset: Dataset, field: str, part: str, y: Array) -> None:
    """Raises DataError if a number to predict is the same in all of a part's rows y (n, K)."""
    same = (y == y[:1]).all(axis=0)
    if len(y) and same.any():
        which = int(same.argmax())
        rule = f"{part} rows ({len(y)}) must differ in {dataset.targets[which]}"
        raise DataError(f"{field}: {rule}, or there is no R², got only {y[0, which]}")


def _share(rows: int, share: float, path: str) -> int:
    count = round(rows * share)
    if not 0 < count < rows:
        raise DataError(f"{path}: must split {rows} rows into two parts with rows, got {share}")
    return count
