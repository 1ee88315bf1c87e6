"""What MLflow is told about a record: the names, values and states of its runs. No I/O.

The rules by which values are mapped, so that nothing is refused and nothing is lost silently:

- A name keeps letters, digits and `_ - . : / space`. Any other character becomes `_`, a name longer
  than 250 characters is cut, and a name that had to be changed ends in a digest of the whole, so
  that two names never become one.
- A value longer than MLflow takes (6,000 characters for a param, 8,000 for a tag) is cut, and ends
  in its length. `config.yaml` has it whole.
- What UTF-8 has no bytes for (a lone surrogate), and NUL, which PostgreSQL refuses, becomes `?`.
- A metric is the mean over the replicates that have a value; it is NaN where none has. MLflow
  keeps NaN, and turns an infinite value into the largest number it can hold.
- `<metric>_sd` is the standard deviation over the replicates (ddof = 1), a point where at least two
  have a finite value.
"""

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweep.figures import figure, with_error
from sweep.recording.records import (
    Dataset,
    Epochs,
    Record,
    Scalar,
    SweepEnded,
    SweepStarted,
    TrialEnded,
    TrialStarted,
)

LONGEST_NAME = 250
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
WITHOUT_SPREAD = ("learning_rate", "epoch_seconds", "validation_seconds", "health/")
"""How metrics begin that are the same in all replicates, or that say little by replicate."""

STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
DESCRIPTION = "mlflow.note.content"
DIAGNOSIS = "sweep.diagnosis"


class Point(NamedTuple):
    """A value of a metric; `step` is the number of epochs completed."""

    name: str
    value: float
    at_ms: int
    step: int


@dataclass
class Changes:
    """What a run shall have after some records have been sent.

    Attributes:
        data: the source and the digest of what it was trained on.
        texts: artifacts by name, with their text.
        files: artifacts by name, with the path of the file relative to the study's folder.
    """

    name: str | None = None
    status: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    data: tuple[str, str] | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def project(records: Iterable[Record]) -> Changes:
    """The changes that records of one run, in their order, come to."""
    changes = Changes()
    for record in records:
        if changes.start_ms is None:
            changes.start_ms = record.at_ms
        match record:
            case SweepStarted():
                changes.status, changes.end_ms = "RUNNING", None
                changes.texts["study.yaml"] = record.study_file
                study = record.study_file.encode(errors="surrogatepass")
                _tag(changes, {"sweep.state": "running", DESCRIPTION: record.question})
                _tag(changes, {"sweep.checksum.study": hashlib.sha256(study).hexdigest()})
                _tag(changes, record.tags)
            case Dataset():
                changes.data = record.source, record.digest
                _tag(changes, {"sweep.checksum.data": record.digest})
            case TrialStarted():
                changes.name = storable(record.name)
                changes.params |= {
                    name_of(name): cut(storable(written(value)), LONGEST_PARAM)
                    for name, value in record.params.items()
                }
                changes.texts["config.yaml"] = record.config
                _tag(changes, {"sweep.state": "running"})
                _tag(changes, record.tags)
            case Epochs():
                changes.points += points(record)
            case TrialEnded():
                _end_trial(changes, record)
            case SweepEnded():
                changes.status, changes.end_ms = STATUS[record.state], record.at_ms
                changes.points += _figures(record.metrics, record.at_ms, 0)
                _tag(changes, {"sweep.state": record.state})
                _tag(changes, record.tags)
            case _:
                raise TypeError(f"{type(record).__name__} is made late: it changes no run")
    return changes


def _end_trial(changes: Changes, record: TrialEnded) -> None:
    changes.status, changes.end_ms = STATUS[record.state], record.at_ms
    figures = dict(record.metrics)
    if record.value is not None:
        figures["value"] = record.value
        spread = _spread(record)
        if np.isfinite(spread):
            figures["value_sd"] = spread
        _tag(changes, {"sweep.values": json.dumps(list(record.values))})
    changes.points += _figures(figures, record.at_ms, record.epoch)
    # The reason is written even if there is none: an earlier end may have had one.
    _tag(changes, {"sweep.state": record.state, "sweep.reason": record.reason or ""})
    diagnosis = record.tags.get(DIAGNOSIS)
    text = described(record)
    _tag(changes, {DESCRIPTION: f"{text}\n\nDiagnosis: {diagnosis}" if diagnosis else text})
    _tag(changes, record.tags)
    if record.error is not None:
        changes.texts["error.txt"] = record.error
    if record.weights is not None:
        changes.files["weights.npz"] = record.weights


def described(end: TrialEnded) -> str:
    """How a trial ended, in one line."""
    text = f"{end.state} after {end.epoch} epoch{'s' * (end.epoch != 1)}"
    if end.reason is not None:
        text = f"{text}: {end.reason}"
    if end.value is None:
        return text
    spread = _spread(end)
    value = with_error(end.value, spread) if np.isfinite(spread) else figure(end.value)
    return f"{text}; value {value} (replicates: {len(end.values)})"


def _spread(end: TrialEnded) -> float:
    return float(mean_and_sd(np.array([end.values], dtype=np.float64))[1][0])


def points(epochs: Epochs) -> list[Point]:
    """Means and standard deviations over replicates, a point an epoch.

    A health figure that no replicate has in an epoch has no point there.
    The time of a point is when its epoch ended: the end of the last one less the seconds of those
    that came after it.
    """
    at_ms = _ends_of_epochs(epochs)
    steps = range(epochs.first_epoch, epochs.last_epoch + 1)
    found = []
    for name, values in epochs.history.items():
        mean, sd = mean_and_sd(values)
        key = name_of(name)
        means = zip(mean.tolist(), at_ms, steps, strict=True)
        health = name.startswith("health/")
        found += [Point(key, *each) for each in means if not (health and np.isnan(each[0]))]
        if not name.startswith(WITHOUT_SPREAD):
            key = name_of(f"{name}_sd")
            spread = zip(sd.tolist(), at_ms, steps, strict=True)
            found += [Point(key, *each) for each in spread if np.isfinite(each[0])]
    return found


def _ends_of_epochs(epochs: Epochs) -> list[int]:
    seconds = epochs.history.get("epoch_seconds")
    if seconds is None:
        return [epochs.at_ms] * (epochs.last_epoch - epochs.first_epoch + 1)
    lasted = np.nan_to_num(mean_and_sd(seconds)[0])
    before_the_end = lasted[::-1].cumsum()[::-1] - lasted
    return [epochs.at_ms - round(1000 * s) for s in before_the_end.tolist()]


def mean_and_sd(
    values: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (ddof = 1) over the last axis, of what is not NaN.

    Args:
        values: (E, R).

    Returns:
        Both (E,); NaN where no value, or fewer than two, are there.
    """
    values = values.astype(np.float64)
    there = ~np.isnan(values)
    count = there.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, values, 0).sum(-1) / count
        squares = np.where(there, values - mean[..., None], 0) ** 2
        return mean, np.sqrt(squares.sum(-1) / np.where(count > 1, count - 1, np.nan))


def name_of(name: str) -> str:
    """The name that MLflow takes for a param, a metric or a tag."""
    legal = posixpath.normpath(re.sub(r"[^\w\-./: ]", "_", name)).lstrip("/.")
    if name and legal == name and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{legal[: LONGEST_NAME - 9]}-{digest}"


def written(value: Scalar) -> str:
    """A value as text, as YAML writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def storable(text: str) -> str:
    """The text without what a store can't hold."""
    return text.encode(errors="replace").decode().replace("\0", "?")


def cut(text: str, longest: int) -> str:
    """The text, cut to `longest` characters with its length at the end if it has more."""
    if len(text) <= longest:
        return text
    end = f"… ({len(text)} characters)"
    return text[: longest - len(end)] + end


def _tag(changes: Changes, tags: Mapping[str, str]) -> None:
    changes.tags |= {name_of(name): cut(storable(text), LONGEST_TAG) for name, text in tags.items()}


def _figures(figures: Mapping[str, float], at_ms: int, step: int) -> list[Point]:
    return [Point(name_of(name), float(value), at_ms, step) for name, value in figures.items()]
