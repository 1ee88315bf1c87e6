"""Trains a trial of the record again and compares, bit for bit."""

from dataclasses import dataclass
from typing import Any

from sweep.answers.results import Results
from sweep.datasets import Datasets
from sweep.scheduling.runner import Advanced, Link, advance


class NotReproducible(RuntimeError):
    """The trial has no result that could be compared."""


@dataclass(frozen=True)
class Reproduction:
    """A trial's metrics as recorded and as trained again.

    Attributes:
        identical: whether every recorded number came out the same to the bit.
        comparable: whether bits can be promised: the same arithmetic did both.
        difference: the largest absolute difference of a metric.
        recorded, now: what did the arithmetic then and now.
    """

    trial: int
    identical: bool
    comparable: bool
    difference: float
    recorded: dict[str, Any]
    now: dict[str, Any]

    def __str__(self) -> str:
        if self.identical:
            return f"trial {self.trial} is bit-identical"
        what = f"largest difference {self.difference:g}"
        if self.comparable:
            return f"trial {self.trial} differs: {what}"
        changed = [name for name in self.now if self.recorded.get(name) != self.now[name]]
        return f"trial {self.trial} is not comparable ({', '.join(changed)} changed): {what}"


def reproduce(results: Results, number: int, datasets: Datasets) -> Reproduction:
    """Trains trial `number` again in this process, to the epoch that it reached.

    Raises:
        NotReproducible: there is no such trial, or it has no result.
    """
    study = results.study
    if number >= len(results.trials):
        raise NotReproducible(f"{study.name!r} has no trial {number}")
    trial = results.trials[number]
    if not trial.metrics or not trial.epoch:
        raise NotReproducible(f"trial {number} is {trial.state} and has no result")
    config = study.config(trial.params)
    replicates = study.replicates_of(number)
    link = Link(
        number,
        config,
        trial.epoch,
        study.search.seed,
        len(replicates),
        study.threads,
        gpu=study.resources.gpu > 0,
        first=replicates.start,
    )
    outcome, _ = advance(link, datasets.data(config), None)
    if not isinstance(outcome, Advanced):
        raise NotReproducible(f"trial {number} fails now:\n{outcome.error}")
    differences = [
        abs(then - float(now))
        for name, recorded in trial.metrics.items()
        if not name.endswith("_seconds")
        for then, now in zip(recorded, outcome.metrics[name], strict=True)
        if then is not None
    ]
    largest = max(differences, default=0.0)
    here = dict(outcome.environment)
    return Reproduction(
        number, largest == 0.0, trial.environment == here, largest, trial.environment, here
    )
