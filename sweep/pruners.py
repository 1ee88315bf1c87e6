"""Pruners: pure functions of the values at rungs that say whether a trial goes on.

A *rung* is a number of completed epochs after which a trial is judged; none is at the full budget.
The decisions agree with Optuna's pruners of the same name, given the same values in the same order;
Optuna's own are not called because they take 12 ms a decision with 10,000 trials in the study.
"""

import binascii
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from trainer.rules import Integer, Optional, Setting, Technique


@dataclass
class Ladder:
    """The objective's values at the rungs: `values[epoch][trial number]`, in order of arrival."""

    maximize: bool
    values: dict[int, dict[int, float]] = field(default_factory=dict)
    complete: set[int] = field(default_factory=set)

    def seen_by(self, number: int, lag: int) -> "Ladder":
        """The ladder with trial `number` and those up to `number - lag` alone."""
        values = {
            epoch: {
                each: value for each, value in at.items() if each == number or each <= number - lag
            }
            for epoch, at in self.values.items()
        }
        complete = {each for each in self.complete if each <= number - lag}
        return Ladder(self.maximize, values, complete)

    def record(self, number: int, epoch: int, value: float) -> None:
        """Keeps a trial's value at a rung."""
        self.values.setdefault(epoch, {})[number] = value


class Pruner(Protocol):
    """Who ends trials early. Implementations hold nothing that they could not find out again."""

    def rungs(self, number: int, epochs: int) -> tuple[int, ...]:
        """The rungs of trial `number` below its full budget of `epochs`, ascending."""

    def keeps(self, number: int, epoch: int, ladder: Ladder) -> bool:
        """Whether a trial whose value at the rung `epoch` is on the ladder goes on."""


def _geometric(first: int, factor: int, below: int) -> tuple[int, ...]:
    rungs = []
    while first < below:
        rungs.append(first)
        first *= factor
    return tuple(rungs)


def _in_top(value: float, competing: list[float], reduction: int, maximize: bool) -> bool:
    """Whether a value is among the best 1/reduction of those competing, itself included.

    With fewer than `reduction` values only the best goes on (ASHA, Li et al. 2018,
    arXiv:1810.05934, as Optuna does it for trials that can't be paused).
    """
    if math.isnan(value):
        return False
    sign = 1 if maximize else -1
    numbers = sign * np.asarray(competing)
    numbers = numbers[~np.isnan(numbers)]
    place = max(len(numbers) // reduction, 1)
    return bool(sign * value >= np.partition(numbers, -place)[-place])


@dataclass(frozen=True)
class NoPruner:
    """Every trial runs to its full budget, in one link."""

    def rungs(self, number: int, epochs: int) -> tuple[int, ...]:
        """None."""
        return ()

    def keeps(self, number: int, epoch: int, ladder: Ladder) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving: at every rung the best 1/reduction so far go on."""

    reduction: int
    min_epochs: int

    def rungs(self, number: int, epochs: int) -> tuple[int, ...]:
        """min_epochs · reduction^k."""
        return _geometric(self.min_epochs, self.reduction, epochs)

    def keeps(self, number: int, epoch: int, ladder: Ladder) -> bool:
        """Compared with every trial that has reached the rung."""
        at = ladder.values[epoch]
        return _in_top(at[number], list(at.values()), self.reduction, ladder.maximize)


@dataclass(frozen=True)
class Hyperband:
    """Several ASHA brackets that start at different rungs (Li et al. 2018, JMLR 18-185).

    A trial's bracket is drawn from its number and the study's name, in the proportions that
    Optuna's `HyperbandPruner` uses, so it needs no record. (Where the budget is a power of the
    reduction, Optuna may lose the last bracket to the rounding of a logarithm.)
    """

    reduction: int
    min_epochs: int
    epochs: int
    study: str
    _drawn: dict[int, int] = field(default_factory=dict, repr=False, compare=False)

    def bracket(self, number: int) -> int:
        """The bracket of trial `number`; bracket b starts at min_epochs · reduction^b."""
        if number not in self._drawn:  # every decision asks for those of all trials at the rung
            self._drawn[number] = self._draw(number)
        return self._drawn[number]

    def _draw(self, number: int) -> int:
        highest = math.floor(math.log(self.epochs / self.min_epochs, self.reduction) + 1e-9)
        budgets = [
            math.ceil((highest + 1) * self.reduction**s / (s + 1)) for s in range(highest, -1, -1)
        ]
        place = binascii.crc32(f"{self.study}_{number}".encode()) % sum(budgets)
        for bracket, budget in enumerate(budgets):
            place -= budget
            if place < 0:
                return bracket
        raise AssertionError("the budgets add up to more than any place")

    def rungs(self, number: int, epochs: int) -> tuple[int, ...]:
        """min_epochs · reduction^(bracket + k)."""
        first = self.min_epochs * self.reduction ** self.bracket(number)
        return _geometric(first, self.reduction, epochs)

    def keeps(self, number: int, epoch: int, ladder: Ladder) -> bool:
        """Compared within the trial's own bracket."""
        mine = self.bracket(number)
        at = ladder.values[epoch]
        competing = [value for other, value in at.items() if self.bracket(other) == mine]
        return _in_top(at[number], competing, self.reduction, ladder.maximize)


@dataclass(frozen=True)
class Median:
    """A trial ends if its best value so far is worse than the median of complete trials there.

    The rule of Golovin et al. 2017 (Vizier), over the values at the rung itself as Optuna has it.
    """

    reduction: int
    min_epochs: int
    startup: int

    def rungs(self, number: int, epochs: int) -> tuple[int, ...]:
        """min_epochs · reduction^k."""
        return _geometric(self.min_epochs, self.reduction, epochs)

    def keeps(self, number: int, epoch: int, ladder: Ladder) -> bool:
        """Always, until `startup` trials are complete."""
        if len(ladder.complete) < self.startup:
            return True
        sign = 1 if ladder.maximize else -1
        mine = [
            sign * at[number]
            for step, at in ladder.values.items()
            if step <= epoch and number in at and not math.isnan(at[number])
        ]
        others = [
            sign * value
            for other, value in ladder.values[epoch].items()
            if other in ladder.complete and not math.isnan(value)
        ]
        if not mine:
            return False
        return not others or max(mine) >= float(np.median(others))


@dataclass(frozen=True)
class PrunerEntry:
    """A pruner by name: its parameters, and how it is made for a study."""

    parameters: Mapping[str, Setting]
    make: Callable[[Technique, str, int], Pruner]


_HALVING = {
    "reduction": Setting(3, Integer(2), "the best one in this many goes on"),
    "min_epochs": Setting(1, Integer(1), "the first rung"),
}
_LATE = Setting(None, Optional(Integer(1)), "the first rung; by default epochs / reduction")


def _asha(given: Technique, _name: str, epochs: int) -> Asha:
    """By default with one rung: what learns slowly and wins is behind at earlier ones.

    `benchmarks/virtual.py` has the figures.
    """
    reduction = given["reduction"]
    return Asha(reduction, given["min_epochs"] or -(-epochs // reduction))


PRUNERS: dict[str, PrunerEntry] = {
    "asha": PrunerEntry({**_HALVING, "min_epochs": _LATE}, _asha),
    "hyperband": PrunerEntry(
        _HALVING,
        lambda given, name, epochs: Hyperband(
            given["reduction"], min(given["min_epochs"], epochs), epochs, name
        ),
    ),
    "median": PrunerEntry(
        {
            **_HALVING,
            "startup": Setting(5, Integer(1), "complete trials before the first decision"),
        },
        lambda given, _name, _epochs: Median(
            given["reduction"], given["min_epochs"], given["startup"]
        ),
    ),
    "none": PrunerEntry({}, lambda _given, _name, _epochs: NoPruner()),
}
"""Every pruner by its name in a study file."""
