"""What the driver puts on record: one frozen dataclass a fact, each with the time it happened.

A record is complete in itself: whoever sends it needs nothing but the record, the files that it
names, and the runs that exist already. Times are milliseconds since the Unix epoch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class SweepStarted:
    """A sweep begins, or goes on: the parent run is opened, or opened again.

    Attributes:
        question: what the study asks, in words.
        study_file: the text of the study file with its overrides.
        tags: further tags of the parent run.
    """

    trial: ClassVar[None] = None
    question: str
    study_file: str
    at_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """What the trials of a sweep train on: the data input of the parent run.

    Attributes:
        source: where the data came from.
        digest: a digest of the rows and of how they were split.
        example: a few raw rows (n, D).
        classes: the names of the classes, in the order of the probabilities.
        targets: the names of the numbers to predict, where there are no classes.
    """

    trial: ClassVar[None] = None
    source: str
    digest: str
    example: Sequence[Sequence[float]]
    classes: Sequence[str]
    at_ms: int
    targets: Sequence[str] = ()


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins: its run is made. A second start of the same trial says nothing new.

    Attributes:
        name: the name of the run.
        params: the flat configuration.
        config: the configuration as YAML text.
        recalled: told again, because the outbox was lost: what MLflow has of its end stands.
    """

    trial: int
    name: str
    params: Mapping[str, Scalar]
    config: str
    at_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    recalled: bool = False


@dataclass(frozen=True)
class Epochs:
    """What a link measured.

    Attributes:
        first_epoch: the number of the first of these epochs, counted from 1.
        history: an array (E, R) a metric, all of one shape; NaN where a replicate had stopped.
        at_ms: when the last of these epochs ended.
    """

    trial: int
    first_epoch: int
    history: Mapping[str, NDArray[np.floating]]
    at_ms: int

    @property
    def last_epoch(self) -> int:
        """The number of the last of these epochs."""
        return self.first_epoch + len(next(iter(self.history.values()))) - 1


@dataclass(frozen=True)
class TrialEnded:
    """A trial ended. Of two ends of one trial the later stands.

    Attributes:
        state: `complete`, `pruned`, `failed` or `stopped`.
        epoch: the number of epochs completed: the step of `value` and `metrics`.
        reason: why, unless it ran to its end.
        value: the mean of the objective over the replicates.
        values: the objective, one a replicate.
        metrics: further figures of the whole trial, none named as one of its histories.
        error: the traceback of a failed trial.
        weights: the file of the weights, relative to the folder of the study. It may be deleted
            once it has been sent.
        recalled: as for a start.
    """

    trial: int
    state: str
    epoch: int
    at_ms: int
    reason: str | None = None
    value: float | None = None
    values: Sequence[float] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    weights: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    recalled: bool = False


@dataclass(frozen=True)
class SweepEnded:
    """A sweep ended, for good or until it is resumed.

    Attributes:
        state: `complete`, `failed` or `stopped`.
        metrics: figures of the whole sweep.
    """

    trial: ClassVar[None] = None
    state: str
    at_ms: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LearningCurve:
    """A picture that is due, once the data of all runs have been sent."""

    trial: int
    at_ms: int


@dataclass(frozen=True)
class Weights:
    """The weights of a trial that turned out to be among the best.

    Attributes:
        weights: their file, relative to the folder of the study.
    """

    trial: int
    weights: str
    at_ms: int


@dataclass(frozen=True)
class Model:
    """The model of a trial is due to be logged in its run.

    Attributes:
        weights: the file of the weights, relative to the folder of the study. It is deleted once
            the model has been sent.
    """

    trial: int
    weights: str
    at_ms: int


@dataclass(frozen=True)
class Confusion:
    """A picture that is due: what a trial confuses on the validation rows.

    Attributes:
        counts: (K, K), how often each true class (row) is taken for each class (column), the
            replicates added up.
        classes: their names.
        replicates: how many there are.
    """

    trial: int
    counts: Sequence[Sequence[int]]
    classes: Sequence[str]
    replicates: int
    at_ms: int


@dataclass(frozen=True)
class Predictions:
    """A picture that is due: what a trial predicts on the validation rows, in the targets' units.

    Attributes:
        targets: the names of the first K numbers to predict.
        outputs: how many there are.
        observed: (K, n), what they were, at some of the rows or at all, of all replicates.
        predicted: (K, n), what the trial says of these rows.
        r2: (K, R), R² of each replicate on all rows.
        rows: how many these are, those of all replicates counted.
    """

    trial: int
    targets: Sequence[str]
    outputs: int
    observed: Sequence[Sequence[float]]
    predicted: Sequence[Sequence[float]]
    r2: Sequence[Sequence[float]]
    rows: int
    at_ms: int


@dataclass(frozen=True)
class Report:
    """The report of the study is due: the page and the pictures of the parent run."""

    trial: ClassVar[None] = None
    at_ms: int


@dataclass(frozen=True)
class Winner:
    """The winner of a sweep is due to be logged, and registered, as a model.

    Attributes:
        value: the mean of `metric` over the replicates, on the validation rows.
        maximize: whether larger values are better.
        data: the digest of the data.
    """

    trial: int
    metric: str
    value: float
    maximize: bool
    data: str
    at_ms: int


Record = (
    SweepStarted
    | Dataset
    | TrialStarted
    | Epochs
    | TrialEnded
    | SweepEnded
    | LearningCurve
    | Weights
    | Model
    | Confusion
    | Predictions
    | Report
    | Winner
)
Late = LearningCurve | Weights | Model | Confusion | Predictions | Report | Winner
"""What is made and sent when the data of all runs have been sent."""
Validation = Confusion | Predictions
"""What a trial says of the validation rows."""
KINDS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in Record.__args__}


def packed(record: Record) -> tuple[str, str, bytes | None]:
    """A record as its kind, its fields in JSON, and its arrays as little-endian float64.

    Raises:
        ValueError: the arrays of a history are not all of one shape (E, R).
        TypeError: a field holds what is neither a plain value nor a NumPy scalar.
    """
    kind = type(record).__name__
    if not isinstance(record, Epochs):
        return kind, json.dumps(asdict(record), default=_plain), None
    shapes = {name: values.shape for name, values in record.history.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ValueError(f"a history must have one shape (epochs, replicates), got {shapes}")
    stack = np.stack(list(record.history.values())).astype("<f8")
    header = {
        "trial": record.trial,
        "first_epoch": record.first_epoch,
        "at_ms": record.at_ms,
        "names": list(record.history),
        "shape": stack.shape,
    }
    return kind, json.dumps(header, default=_plain), stack.tobytes()


def unpacked(kind: str, fields: str, arrays: bytes | None) -> Record:
    """The record that `packed` took apart."""
    values = json.loads(fields)
    if arrays is None:
        record: Record = KINDS[kind](**values)
        return record
    stack = np.frombuffer(arrays, "<f8").reshape(values["shape"])
    history = dict(zip(values["names"], stack, strict=True))
    return Epochs(values["trial"], values["first_epoch"], history, values["at_ms"])


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in a record")
