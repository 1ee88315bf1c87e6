"""What trained nets confuse: how often each class is taken for each, on the validation rows."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from sweep import model
from sweep.datasets import Datasets
from sweep.recording.records import Confusion
from trainer import checkpoint
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Splits
from trainer.prediction import predict_proba
from trainer.rules import build

MOST_CLASSES = 30
"""Of more there is no picture: its numbers could not be read."""


def confusion(config: Config, arrays: Mapping[str, Array], splits: Splits) -> Array:
    """How often each true class (rows) is taken for each class (columns).

    Args:
        config: the net.
        arrays: its weights (R, …) by name; preprocessing among them is left aside.
        splits: the rows, preprocessed.

    Returns:
        (K, K) int64, the replicates added up, each on the validation rows of its fold.
    """
    weights = model.weights_of(arrays)
    counts = np.zeros((splits.data.classes, splits.data.classes), np.int64)
    for replicate in range(_replicates(weights)):
        mine = {name: each[replicate : replicate + 1] for name, each in weights.items()}
        fold = splits.data.fold(replicate)
        predicted = predict_proba(config, mine, fold.x_val)[0].argmax(axis=1)
        np.add.at(counts, (fold.y_val, predicted), 1)
    return counts


def records(files: Mapping[int, Path], datasets: Datasets, at_ms: int) -> Iterator[Confusion]:
    """What trials confuse whose weights are in files, by number."""
    if len(datasets.classes) > MOST_CLASSES:
        return
    for number, file in files.items():
        with suppress(checkpoint.CheckpointError):
            arrays, about = checkpoint.load(file)
            config = about["config"]
            counts = confusion(build(Config, config), arrays, datasets.splits(config))
            replicates = _replicates(model.weights_of(arrays))
            yield Confusion(number, counts.tolist(), datasets.classes, replicates, at_ms)


def _replicates(weights: Mapping[str, Array]) -> int:
    return len(next(iter(weights.values())))
