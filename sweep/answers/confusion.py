"""What trained nets confuse: how often each class is taken for each, on the validation rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sweep import model
from sweep.datasets import Datasets
from sweep.recording.records import Confusion
from trainer import checkpoint
from trainer.arrays import Array
from trainer.data import Data

MOST_CLASSES = 30
"""Of more there is no picture: its numbers could not be read."""


def confusion(odds: Sequence[Array], data: Data) -> Array:
    """How often each true class (rows) is taken for each class (columns).

    Args:
        odds: class probabilities (n, K) of each replicate on the validation rows of its fold.
        data: these rows.

    Returns:
        (K, K) int64, the replicates added up.
    """
    counts = np.zeros((data.classes, data.classes), np.int64)
    for place, each in enumerate(odds):
        np.add.at(counts, (data.fold(place).y_val, each.argmax(axis=1)), 1)
    return counts


def predicted(
    config: Mapping[str, Any], arrays: Mapping[str, Array], datasets: Datasets
) -> list[Array]:
    """What the arrays of a trained model say of the validation rows, as `confusion` takes it."""
    rows = [fold.x_val for fold in datasets.data(config).folds]
    return datasets.trainers.predict(config, model.weights_of(arrays), rows)


def records(files: Mapping[int, Path], datasets: Datasets, at_ms: int) -> Iterator[Confusion]:
    """What trials confuse whose weights are in files, by number; nothing in a regression."""
    if not 0 < len(datasets.classes) <= MOST_CLASSES:
        return
    for number, file in files.items():
        with suppress(checkpoint.CheckpointError):
            arrays, about = checkpoint.load(file)
            odds = predicted(about["config"], arrays, datasets)
            counts = confusion(odds, datasets.data(about["config"]))
            yield Confusion(number, counts.tolist(), datasets.classes, len(odds), at_ms)
