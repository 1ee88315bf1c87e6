"""How soon ways to search find a low loss, on a table of real learning curves in virtual time.

A sweep is replayed until its best complete trial is within `GOALS` of the table's best, or until
its slots have worked for so long. A figure is the mean over seeds of the seconds until then; a
sweep that did not get there counts with all of its time, so a mean where many did not is a lower
bound. Intervals are 95 % bootstrap intervals of the ratio over the seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.replay import Find, Method, replayed
from benchmarks.report import Row, row
from benchmarks.table import Table, load
from trainer.arrays import Array

SEEDS, FEW = 20, 2
GOALS = {"20 %": 1.2, "5 %": 1.05, "1 %": 1.01}
"""How far above the table's best, which is the lowest mean of the replicates that a search sees."""

EARLY = {"asha": {"min_epochs": 1}}
"""ASHA that judges from the first epoch on; by default its one rung is the ninth of 27."""

METHODS = {
    "random": Method("random"),
    "TPE": Method("tpe"),
    "TPE + early ASHA": Method("tpe", EARLY),
    "TPE + ASHA": Method("tpe", "asha"),
    "TPE + ASHA told as complete": Method("tpe", "asha", told_complete=True),
}
COUNTED = ("random", "TPE", "TPE + early ASHA", "TPE + ASHA")
PAIRS = (
    ("TPE", "random"),
    ("TPE + early ASHA", "TPE"),
    ("TPE + ASHA", "TPE"),
    ("TPE + ASHA", "TPE + ASHA told as complete"),
)

TRIALS = 60
"""As many as a study has by default, for what a sweep finds that is as long as it takes."""

TRAININGS = {1: 200, 16: 200, 500: 1000}
QUICK = {1: 30, 16: 96}
"""Slots, and for how many trials of all epochs they have time in all."""

RESAMPLES = 10_000


@dataclass(frozen=True)
class Sweeps:
    """The sweeps of one method on so many slots, a list of finds for each seed."""

    found: Sequence[Sequence[Find]]
    seconds: float

    def until(self, goal: float) -> Array:
        """(seeds,) seconds until a loss of `goal` or less, at most all there were."""
        return np.array([self._until(finds, goal) for finds in self.found])

    def there(self, goal: float) -> Array:
        """(seeds,) whether a sweep got there."""
        return np.array([finds[-1].value <= goal for finds in self.found])

    def values(self) -> Array:
        """(seeds,) loss of the last and best that was found."""
        return np.array([finds[-1].value for finds in self.found])

    def judged(self, curves: Table) -> Array:
        """(seeds,) its loss on the further replicates."""
        return np.array([curves.held_out[finds[-1].row].mean() for finds in self.found])

    def _until(self, finds: Sequence[Find], goal: float) -> float:
        return next((each.seconds for each in finds if each.value <= goal), self.seconds)


def run(quick: bool, seeds: int | None = None) -> tuple[list[Row], dict[str, Any]]:
    """All methods at 1, 16 and 500 slots; with `quick` few seeds and slots, and little time."""
    curves = load()
    seeds = seeds or (FEW if quick else SEEDS)
    best = float(curves.values()[curves.best()])
    goals = {name: factor * best for name, factor in GOALS.items()}
    rows = []
    for slots, trainings in QUICK.items() if quick else TRAININGS.items():
        swept = {
            name: sweeps(curves, method, slots, trainings, min(goals.values()), seeds)
            for name, method in METHODS.items()
        }
        rows += compared(swept, f"{slots} slot" + "s" * (slots > 1), goals)
        rows += judged(swept, f"{slots} slot" + "s" * (slots > 1), curves)
    for slots in QUICK:
        swept = {name: counted(curves, METHODS[name], slots, seeds) for name in COUNTED}
        rows += judged(swept, f"{slots} slot" + "s" * (slots > 1) + f", {TRIALS} trials", curves)
    facts = {"rows": len(curves.seconds), "seeds": seeds}
    for name, goal in goals.items():
        facts[f"rows within {name}"] = int((curves.values() <= goal).sum())
    return rows, facts


def sweeps(
    curves: Table, method: Method, slots: int, trainings: int, goal: float, seeds: int
) -> Sweeps:
    """Replays a method with each seed."""
    epochs = curves.losses.shape[1]
    seconds = trainings / slots * epochs * float(curves.seconds.mean())
    found = [
        replayed(curves, method, slots, seed, goal=goal, seconds=seconds) for seed in range(seeds)
    ]
    return Sweeps(found, seconds)


def counted(curves: Table, method: Method, slots: int, seeds: int) -> Sweeps:
    """Replays a method with each seed until it has had so many trials, however long they take."""
    found = [
        replayed(curves, method, slots, seed, goal=0.0, seconds=math.inf, trials=TRIALS)
        for seed in range(seeds)
    ]
    return Sweeps(found, math.inf)


def compared(swept: dict[str, Sweeps], title: str, goals: dict[str, float]) -> list[Row]:
    """The time that each method takes to each goal against another's, and how many get there."""
    rows = []
    for name, goal in goals.items():
        for one, other in PAIRS:
            label = f"{title}, within {name}, s: {one} / {other}"
            rows.append(_row(label, swept[one].until(goal), swept[other].until(goal)))
        for method, each in swept.items():
            share = 100 * float(each.there(goal).mean())
            label = f"{title}, within {name}: % of seeds that get there, {method} / all"
            rows.append(row(label, share, 100.0, share / 100, None))
    return rows


def judged(swept: dict[str, Sweeps], title: str, curves: Table) -> list[Row]:
    """The loss of what was found against that of the table's best row, on the same replicates.

    On those that the search saw, and on further ones, which chose nothing.
    """
    best = curves.best()
    own, further = float(curves.values()[best]), float(curves.held_out[best].mean())
    rows = []
    for name, each in swept.items():
        label = f"{title}, found by {name}, {{}} / of the table's best"
        rows.append(_row(label.format("loss"), each.values(), own))
        rows.append(_row(label.format("loss on further seeds"), each.judged(curves), further))
    return rows


def _row(name: str, ours: Array, peer: Array | float) -> Row:
    """A ratio of means, with its interval over the seeds."""
    theirs = np.broadcast_to(peer, ours.shape)
    picks = np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))
    ratios = ours[picks].mean(axis=1) / theirs[picks].mean(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    mean, other = float(ours.mean()), float(theirs.mean())
    made = row(name, mean, other, mean / other, None)
    return replace(made, interval=(float(low), float(high)))
