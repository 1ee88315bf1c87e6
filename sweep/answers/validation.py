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
from trainer.tasks import REGRESSION, explained

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


def validation(
    trial: int,
    config: Mapping[str, Any],
    arrays: Mapping[str, Array],
    datasets: Datasets,
    at_ms: int,
) -> Validation | None:
    """What a trained model says of the validation rows, as it goes on record.

    None if a number is infinite or NaN, as where targets are beyond the net's precision.
    """
    answers, data = predicted(config, arrays, datasets), datasets.data(config)
    if data.task is not REGRESSION:
        counts = confusion(answers, data).tolist()
        return Confusion(trial, counts, datasets.classes, len(answers), at_ms)
    y = np.concatenate([data.fold(place).y_val for place in range(len(answers))])
    z = np.concatenate(answers)
    r2 = np.stack([explained(data.fold(at).y_val, each) for at, each in enumerate(answers)])
    if not (np.isfinite(z).all() and np.isfinite(r2).all()):
        return None
    shown = np.linspace(0, len(y) - 1, min(len(y), MOST_POINTS)).astype(int)  # rows are shuffled
    observed, answered = _legible(np.stack([y, z])[:, shown, :MOST_TARGETS])
    return Predictions(
        trial=trial,
        targets=datasets.targets[:MOST_TARGETS],
        outputs=data.outputs,
        observed=observed,
        predicted=answered,
        r2=r2.T[:MOST_TARGETS].tolist(),
        rows=len(y),
        at_ms=at_ms,
    )


def _legible(points: Array) -> list[list[list[float]]]:
    """Points (2, n, K) as (2, K, n), to a ten-thousandth of what each of the K spans."""
    spans = np.maximum(np.ptp(points, axis=(0, 1)), np.finfo(np.float64).tiny)
    digits = [4 - int(each) for each in np.floor(np.log10(spans))]
    return [
        [
            [round(float(each), count) for each in column]
            for column, count in zip(values.T, digits, strict=True)
        ]
        for values in points
    ]


def records(files: Mapping[int, Path], datasets: Datasets, at_ms: int) -> Iterator[Validation]:
    """What trials say whose weights are in files, by number; nothing of too many classes."""
    if len(datasets.classes) > MOST_CLASSES:
        return
    for number, file in files.items():
        with suppress(checkpoint.CheckpointError):
            arrays, about = checkpoint.load(file)
            said = validation(number, about["config"], arrays, datasets, at_ms)
            if said is not None:
                yield said


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
