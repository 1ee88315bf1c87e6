"""The work of the comparison of sweeps: trials of the default study, one training each.

Everyone searches the default study's space (nine parameters, some conditional) with the same TPE,
and calls the same trainer with the same seed, on one BLAS thread, for all epochs at once. Nobody
prunes.
"""

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from benchmarks.child import ROOT
from sweep.datasets import Datasets
from sweep.scheduling.runner import Advanced, Link, advance
from sweep.spec import space
from sweep.spec.study import Study, check
from trainer.data import Data

EPOCHS = 27
SLOTS = 2
Params = Mapping[str, space.Scalar]


def values(trials: int) -> dict[str, Any]:
    """The study file: the default study without replicates and without a pruner."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "studies" / "digits.yaml").read_text())
    found["training"]["epochs"] = EPOCHS
    found["search"] = {"trials": trials, "sampler": "tpe", "pruner": "none", "seed": 0}
    return found | {"replicates": 1}


@cache
def study() -> Study:
    """The study, for its space and its settings."""
    return check(values(trials=1))


@cache
def datasets() -> Datasets:
    """The data as the driver splits them."""
    return Datasets(study())


def data() -> Data:
    """The training and validation rows."""
    return datasets().data(study().first_config())


def suggested(suggest: Any) -> dict[str, space.Scalar]:
    """Parameters from an Optuna trial, or from what Ray Tune hands out in its place."""
    chosen: dict[str, space.Scalar] = {}

    def choose(parameter: space.Parameter) -> space.Scalar:
        name = parameter.name
        if isinstance(parameter, space.Choose):
            chosen[name] = suggest.suggest_categorical(name, parameter.labels)
        else:
            low, high = parameter.low, parameter.high
            chosen[name] = suggest.suggest_float(name, low, high, log=parameter.log)
        return chosen[name]

    space.resolve(study().template, choose)
    return chosen


def trained(params: Params, data: Data) -> tuple[Advanced, Any]:
    """Trains a configuration to its end; what it measured, and its state."""
    link = Link(0, study().config(params), EPOCHS, study().search.seed, 1)
    outcome, state = advance(link, data, None)
    assert isinstance(outcome, Advanced), outcome
    return outcome, state


def final(outcome: Advanced) -> float:
    """The objective."""
    return float(outcome.metrics[study().metric][0])


def epochs(outcome: Advanced) -> list[dict[str, float]]:
    """What was measured, epoch by epoch: everyone records all of it."""
    rows = len(outcome.history["val_loss"])
    return [
        {name: float(values[row, 0]) for name, values in outcome.history.items()}
        for row in range(rows)
    ]


def alone(trials: Sequence[tuple[Params, float | None]]) -> list[float]:
    """Processor seconds of each training alone, one after the other in this process.

    Each must come to the value that is given with it, if it came to one.
    """
    for params, _ in trials[:3]:
        trained(params, data())
    used = []
    for params, value in trials:
        began = time.process_time()
        outcome, _ = trained(params, data())
        used.append(time.process_time() - began)
        if value is not None:
            assert final(outcome) == value, (params, value, final(outcome))
    return used
