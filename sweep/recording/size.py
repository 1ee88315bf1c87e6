"""How much disk the record of a study will take, estimated before it begins.

The weights are counted: parameters × replicates × trials. The rest is made of constants that were
measured on records of `digits`, 60 trials of 27 epochs, and `smoke`, with MLflow 3.17 on SQLite:
what their files and their tables (`dbstat`) take, divided by what they hold. Configurations are
drawn at random from the search space, since what the sampler will choose is not known. The estimate
is meant to be right to within a factor of two.
"""

import math
import random
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from sweep.datasets import Datasets
from sweep.pruners import PRUNERS
from sweep.recording import kept
from sweep.spec import space
from sweep.spec.study import Study
from trainer.config import Config
from trainer.rules import Technique, build

DRAWN = 32
"""Configurations that stand for all."""

KEEPS = 0.5
"""The share of the trials that a pruner lets go on at a rung: in `digits`, with ASHA and TPE, a
trial had 5.6 of 27 epochs; this share makes it 5.75."""

STORE = 870_000
"""Bytes of MLflow's tables while they are empty."""
RUN = 25_000
"""Of a trial beside its points: 40 params, 13 tags and 22 latest values in MLflow (15 kB), its
configuration there, in the outbox and in the study's storage."""
POINT = 283
"""Of a value of a metric in MLflow: its row, and its part of three indices."""
PICTURES = 90_000
"""Of a trial's learning curves (42 to 66 kB) and gradient flow (45 kB)."""
REPORT = 11_300_000
"""Of the report, of which 4.8 MB are Plotly's script, in the study's folder and in MLflow."""
CODE = 360_000
"""Of a model in MLflow beside its weights: the package `trainer`, and what describes it."""
ARRAYS = 6_000
"""Of a file of weights beside its numbers: the headers, and the configuration."""


class Size(NamedTuple):
    """Bytes by what they hold."""

    weights: int
    models: int
    pictures: int
    metrics: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    def as_json(self) -> dict[str, int]:
        """The object `record` of `check --json`."""
        return {**self._asdict(), "total": self.total}

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {written(each)}" for name, each in self._asdict().items())
        return f"about {written(self.total)} ({parts})"


def size(study: Study, datasets: Datasets) -> Size | None:
    """What the record of a study will take on disk, in the workspace and in MLflow.

    None with a trainer of the user's: only training can tell what that learns.
    """
    if study.trainer is not None:
        return None
    chance = random.Random(study.search.seed)  # noqa: S311
    drawn = [space.resolve(study.template, lambda each: _drawn(each, chance)) for _ in range(DRAWN)]
    trials = study.target
    looks = study.search.looks
    replicates = study.replicates * 2 ** (looks - 1) / looks  # the mean over all trials
    of_one = fmean(_of_one_replicate(config, datasets) for config in drawn)
    fitted = datasets.splits(study.first_config()).preprocessing
    preprocessing = sum(array.nbytes for each in fitted for array in each.values())
    file = replicates * of_one + preprocessing + ARRAYS
    whole = fmean(_whole(study, number) for number in range(DRAWN))
    files = _count(study.record.weights, trials, trials) + min(kept.count(study.record), trials) + 1
    models = _count(study.record.models, trials, round(whole * trials))
    points = fmean(_points(study, config) for config in drawn)
    epochs = trials * fmean(_epochs(study, number) for number in range(DRAWN))
    return Size(
        weights=round(files * file),
        models=round(models * (CODE + of_one + preprocessing / len(fitted) + ARRAYS)),
        pictures=trials * PICTURES + REPORT,
        metrics=round(STORE + trials * RUN + epochs * points * (POINT + 8 * replicates)),
    )


def _drawn(parameter: space.Parameter, chance: random.Random) -> space.Scalar:
    points = parameter.points()
    if points is not None:
        return chance.choice(points)
    assert isinstance(parameter, space.Range)
    if parameter.log:
        return math.exp(chance.uniform(math.log(parameter.low), math.log(parameter.high)))
    return chance.uniform(parameter.low, parameter.high)


def _of_one_replicate(config: dict[str, Any], datasets: Datasets) -> int:
    """Bytes of its parameters."""
    precision = build(Config, config).training.precision.name
    count = datasets.parameters(config)
    assert count is not None  # of a net it is known
    return count * (8 if precision == "float64" else 4)


def _count(choice: Technique, trials: int, every: int) -> int:
    """Of how many trials something is recorded; `every` is how many `all` stands for."""
    if choice.name == "all":
        return every
    return 1 if choice.name == "best" else min(kept.best_of(choice), trials)


def _rungs(study: Study, number: int) -> tuple[int, ...]:
    pruner = PRUNERS[study.search.pruner.name].make(study.search.pruner, study.name, study.epochs)
    return pruner.rungs(number, study.epochs)


def _whole(study: Study, number: int) -> float:
    """The chance of a trial to complete."""
    return float(KEEPS ** len(_rungs(study, number)))


def _epochs(study: Study, number: int) -> float:
    """How many epochs a trial may be expected to have."""
    ends = (0, *_rungs(study, number), study.epochs)
    links = enumerate(pairwise(ends))
    return sum((last - first) * KEEPS**index for index, (first, last) in links)


def _points(study: Study, config: dict[str, Any]) -> int:
    """Values an epoch: losses, accuracies, rate and times, and the health of each layer."""
    model = build(Config, config).model
    hidden = len(model.hidden) + len(model.channels)
    spread = 2 if study.replicates > 1 else 1
    return 4 * spread + 3 + 4 * hidden + 1


def written(size: float) -> str:
    """Bytes in units that people read."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.2g} {unit}" if size < 10 else f"{size:.0f} {unit}"
    return f"{size / 1000:.2g} TB"
