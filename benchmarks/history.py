"""What a long study costs: a decision of the loop and a suggestion, with many trials before."""

import math
import statistics
import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks import trials
from benchmarks.own import Silence, unseen
from sweep.pruners import PRUNERS
from sweep.scheduling.loop import Loop
from sweep.scheduling.runner import Advanced, Link, Outcome
from sweep.search import samplers
from sweep.search.sampler import Result
from sweep.search.search import Search
from sweep.search.storage import Storage
from sweep.spec import space
from sweep.spec.study import Study, check
from trainer.arrays import Array
from trainer.state import State

BLOCK = 250
"""How many trials a figure is the mean of."""


class Oracle:
    """A runner whose links take no time; trial n has the accuracies that n draws."""

    def __init__(self) -> None:
        self._done: deque[Outcome] = deque()

    def slots(self) -> int:
        """Two."""
        return trials.SLOTS

    def cards(self) -> int:
        """None."""
        return 0

    def submit(self, link: Link) -> None:
        """Knows the outcome at once."""
        accuracy = np.random.default_rng((link.number, link.until)).random(1)
        figures = {"val_accuracy": accuracy, "epoch_seconds": np.zeros(1)}
        history = {name: values[None] for name, values in figures.items()}
        finished = link.until == link.config["training"]["epochs"]
        self._done.append(Advanced(link.number, link.until, history, figures, None, finished, 0.0))

    def wait(self, seconds: float) -> list[Outcome]:
        """One outcome."""
        return [self._done.popleft()]

    def state(self, number: int) -> State:
        """Nothing learnt."""
        return {}

    def holds(self, number: int) -> bool:
        """Whatever is asked for."""
        return True

    def adopt(self, number: int, state: State) -> None:
        """Nothing to take over."""

    def cancel(self, number: int) -> None:
        """Nothing: a link that was submitted ends."""

    def forget(self, number: int) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to give back."""


class Timed(Search):
    """A search that notes when it is asked and how long that takes."""

    def __init__(self, study: Study, storage: Storage) -> None:
        super().__init__(study, storage)
        self.asked: list[tuple[float, float]] = []

    def ask(self) -> Any:
        """Asks."""
        began = time.perf_counter()
        trial = super().ask()
        self.asked.append((began, time.perf_counter()))
        return trial


def decided(count: int, pruner: str) -> list[tuple[int, float]]:
    """Seconds a decision, apart from the sampler, with so many trials in the study.

    A decision is the end of a link: its value is stored and judged, and what follows is started.
    The storage is the durable one. The points are Sobol's, so that the sampler costs little.
    """
    values = trials.values(count) | {"name": "decisions"}
    values["search"] = {"trials": count, "sampler": "qmc", "pruner": pruner}
    study = check(values)
    storage = Storage(Path(f"{pruner}.log"), study.name, directions=study.directions)
    search = Timed(study, storage)
    entry = PRUNERS[study.search.pruner.name]
    judge = entry.make(study.search.pruner, study.name, study.epochs)
    Loop(study, search, Oracle(), judge, Silence(), unseen).run()
    links = [len(each.intermediate_values) for each in storage.trials()]
    found = []
    for first in range(0, count - BLOCK, BLOCK):
        block = search.asked[first : first + BLOCK + 1]
        pauses = [after[0] - before[1] for before, after in pairwise(block)]
        found.append((first + BLOCK, sum(pauses) / sum(links[first : first + BLOCK])))
    return found


def suggested(lengths: list[int], asks: int) -> dict[str, float]:
    """Seconds a suggestion of TPE in the default study's space, by the number of trials before."""
    study = trials.study()
    longest = _past(study, max(lengths))
    found = {}
    for length in lengths:
        sampler = samplers.make(study, longest[:length])
        seconds = []
        for number in range(length, length + asks + 1):
            began = time.perf_counter()
            sampler.ask(number)
            seconds.append(time.perf_counter() - began)
            value = float(np.random.default_rng(number).random())
            sampler.tell(number, Result(TrialState.COMPLETE, [value], {}))
        found[str(length)] = statistics.median(seconds[1:])  # the first takes in what was told
    return found


def searched(count: int, seed: int, bounded: bool) -> float:
    """How far from the best point TPE's last quarter of so many suggestions lies, in the mean.

    Far is the squared distance over the ranges, each from 0 to 1, plus a price for each option.
    """
    if not bounded:
        samplers.NEWEST = count
    values = trials.values(count)
    values["search"] |= {"seed": seed}
    study = check(values)
    sampler = samplers.make(study, [])
    parameters = {each.name: each for each in study.parameters()}
    target = {name: np.random.default_rng((seed, len(name))).random(16) for name in parameters}
    far = []
    for number in range(count):
        asked = sampler.ask(number) or {}
        far.append(sum(_off(parameters[name], asked[name], target[name]) for name in asked))
        sampler.tell(number, Result(TrialState.COMPLETE, [-far[-1]], {}))
    return statistics.fmean(far[-count // 4 :])


def _off(parameter: space.Parameter, value: space.Scalar, target: Array) -> float:
    if isinstance(parameter, space.Choose):
        return 0.2 * float(target[parameter.labels.index(value)])
    assert isinstance(value, (int, float))
    low, high, at = parameter.low, parameter.high, float(value)
    if parameter.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return float(((at - low) / (high - low) - target[0]) ** 2)


def _past(study: Study, count: int) -> list[FrozenTrial]:
    """Trials of a random search, each with a value."""
    distributions = {each.name: samplers.distribution(each) for each in study.parameters()}
    random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    past = []
    for number in range(count):
        params = trials.suggested(random.ask())
        past.append(
            create_trial(
                params=params,
                distributions={name: distributions[name] for name in params},
                value=float(np.random.default_rng(number).random()),
            )
        )
    return past
