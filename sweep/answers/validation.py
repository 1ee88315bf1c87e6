"""What trained models say of the validation rows.

Of classes that is how often each is taken for each, of numbers what is predicted where what was
observed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sweep import model
from sweep.datasets import Datasets
from sweep.recording.records import Confusion, Predictions, Validation
from trainer import checkpoint
from trainer.arrays import Array
from trainer.data import Data
from trainer.tasks import REGRESSION

MOST_CLASSES = 30
"""Of more there is no picture: its numbers could not be read."""

MOST_TARGETS = 6
"""Of more numbers to predict the first so many are kept."""

MOST_POINTS = 1000
"""Of more rows, those of all replicates counted, so many are kept."""

NOTES: Mapping[str, type[Validation]] = {"confusion": Confusion, "predictions": Predictions}
"""The notes of a study that hold what its winner says of the validation rows."""


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
    """What the arrays of a trained model say of the validation rows, (n, K) of each replicate."""
    rows = [fold.x_val for fold in datasets.data(config).folds]
    return datasets.trainers.predict(config, model.weights_of(arrays), rows)


def explained(answers: Sequence[Array], data: Data) -> Array:
    """R² = 1 - Σ(y - z)²/Σ(y - ȳ)² of each replicate and target, (R, K).

    Args:
        answers: numbers (n, K) of each replicate on the validation rows of its fold.
        data: these rows.
    """
    found = []
    for place, each in enumerate(answers):
        y = data.fold(place).y_val
        found.append(1 - np.square(y - each).sum(axis=0) / REGRESSION.whole(y[None])[0])
    return np.stack(found)


def validation(
    trial: int,
    config: Mapping[str, Any],
    arrays: Mapping[str, Array],
    datasets: Datasets,
    at_ms: int,
) -> Validation:
    """What a trained model says of the validation rows, as it goes on record."""
    answers, data = predicted(config, arrays, datasets), datasets.data(config)
    if data.task is not REGRESSION:
        counts = confusion(answers, data).tolist()
        return Confusion(trial, counts, datasets.classes, len(answers), at_ms)
    y = np.concatenate([data.fold(place).y_val for place in range(len(answers))])
    z = np.concatenate(answers)
    shown = np.linspace(0, len(y) - 1, min(len(y), MOST_POINTS)).astype(int)  # rows are shuffled
    return Predictions(
        trial=trial,
        targets=datasets.targets[:MOST_TARGETS],
        outputs=data.outputs,
        observed=_columns(y[shown]),
        predicted=_columns(z[shown]),
        r2=_columns(explained(answers, data)),
        rows=len(y),
        at_ms=at_ms,
    )


def _columns(values: Array) -> list[list[float]]:
    """The first columns of (n, K), with as many digits as a picture can show."""
    return [[float(f"{each:.5g}") for each in column] for column in values.T[:MOST_TARGETS]]


def records(files: Mapping[int, Path], datasets: Datasets, at_ms: int) -> Iterator[Validation]:
    """What trials say whose weights are in files, by number; nothing of too many classes."""
    if len(datasets.classes) > MOST_CLASSES:
        return
    for number, file in files.items():
        with suppress(checkpoint.CheckpointError):
            arrays, about = checkpoint.load(file)
            yield validation(number, about["config"], arrays, datasets, at_ms)


def noted(found: Validation) -> tuple[str, dict[str, Any]]:
    """The note that holds what the winner says, by its name."""
    (name,) = (name for name, kind in NOTES.items() if isinstance(found, kind))
    return name, {field: value for field, value in asdict(found).items() if field != "at_ms"}


def of_winner(notes: Mapping[str, Any]) -> Validation | None:
    """What the winner says, by the notes of its study; None if nothing was noted."""
    for name, kind in NOTES.items():
        if name in notes:
            return kind(**notes[name], at_ms=0)  # when it was said is not noted
    return None
