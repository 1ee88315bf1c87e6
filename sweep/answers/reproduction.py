"""Trains a trial of the record again and compares, bit for bit."""

import math
from dataclasses import dataclass, field
from typing import Any

from sweep.answers.results import Results
from sweep.answers.retraining import retrained
from sweep.answers.sensitivity import LayerSensitivity, measured
from sweep.datasets import Datasets
from sweep.scheduling.runner import Raised
from trainer.config import Config
from trainer.rules import build


class NotReproducible(RuntimeError):
    """The trial has no result that could be compared."""


@dataclass(frozen=True)
class Reproduction:
    """A trial's metrics as recorded and as trained again.

    Attributes:
        identical: whether every recorded number came out the same to the bit.
        comparable: whether bits can be promised: the same arithmetic did both, in every link.
        changed: the names of what it depends on that were not the same.
        difference: the largest absolute difference of a metric; None if one is finite in one of the
            two alone.
        recorded, now: what did the arithmetic then and now.
        sensitivity: of each layer of the net as trained now, if that was asked for.
    """

    trial: int
    identical: bool
    comparable: bool
    difference: float | None
    recorded: dict[str, Any]
    now: dict[str, Any]
    changed: list[str]
    sensitivity: list[LayerSensitivity] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([self._verdict(), *map(str, self.sensitivity)])

    def _verdict(self) -> str:
        if self.identical:
            return f"trial {self.trial} is bit-identical"
        what = "a metric is finite in one of the two alone"
        if self.difference is not None:
            what = f"largest difference {self.difference:g}"
        if self.comparable:
            return f"trial {self.trial} differs: {what}"
        return f"trial {self.trial} is not comparable ({', '.join(self.changed)} changed): {what}"


def reproduce(
    results: Results, number: int, datasets: Datasets, *, sensitivity: bool = False
) -> Reproduction:
    """Trains trial `number` again in this process, to the epoch that it reached.

    With `sensitivity` it nudges weights of the trained net, too.

    Raises:
        NotReproducible: there is no such trial, or it has no result.
    """
    study = results.study
    if number >= len(results.trials):
        raise NotReproducible(f"{study.name!r} has no trial {number}")
    trial = results.trials[number]
    if sensitivity and study.trainer is not None:
        raise NotReproducible(f"--sensitivity looks at a net of ours, not at {study.trainer}")
    if not trial.metrics or not trial.epoch:
        raise NotReproducible(f"trial {number} is {trial.state} and has no result")
    config = study.config(trial.params)
    outcome, state, changed = retrained(results, trial, datasets, cards=True)
    if isinstance(outcome, Raised):
        raise NotReproducible(f"trial {number} fails now:\n{outcome.error}")
    gone = [name for name in trial.metrics if name not in outcome.metrics]
    if gone:
        raise NotReproducible(f"trial {number} has no {gone[0]} now")
    largest = max(
        (
            _apart(then, float(now))
            for name, recorded in trial.metrics.items()
            if not name.endswith("_seconds")
            for then, now in zip(recorded, outcome.metrics[name], strict=True)
        ),
        default=0.0,
    )
    here, layers = dict(outcome.environment), list[LayerSensitivity]()
    if sensitivity and state is not None:
        data = datasets.data(config)
        layers = measured(build(Config, config), state, data, study.search.seed)
    return Reproduction(
        number,
        identical=largest == 0.0,
        comparable=not changed,
        difference=largest if math.isfinite(largest) else None,
        recorded=trial.environment,
        now=here,
        changed=sorted(changed),
        sensitivity=layers,
    )


def _apart(then: float | None, now: float) -> float:
    """How far a number is from the one on record, where None is what was not finite."""
    if then is None or not math.isfinite(now):
        return 0.0 if then is None and not math.isfinite(now) else math.inf
    return abs(then - now)
