"""Schedules: what the learning rate is multiplied by, step by step; one entry each in `SCHEDULES`.

They span `training.epochs`, never a rung, and are functions of the step alone. Only the schedule on
a plateau depends on what was reached; its memory is part of the state (`plateau`, `follow`).
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from trainer.arrays import Array
from trainer.rules import Choice, Integer, Items, Problem, Real, Setting, Technique

PLATEAU = "plateau"
MONITORED: Mapping[str, int] = {"val_loss": 1, "val_accuracy": -1, "val_r2": -1}
"""What may be watched, and by which sign less of it is better."""


@dataclass(frozen=True)
class Time:
    """Where in the training some steps are.

    Attributes:
        step: steps done before each (n,), from 0.
        steps: in an epoch.
        epochs: of the whole training.
    """

    step: Array
    steps: int
    epochs: int

    @property
    def epoch(self) -> Array:
        """Epochs done before each step, in fractions (n,)."""
        return self.step / self.steps


@dataclass(frozen=True)
class Schedule:
    """One schedule: the factors of some steps (n,), and what a study may set."""

    factors: Callable[[Technique, Time], Array]
    parameters: Mapping[str, Setting] = field(default_factory=dict)


def _constant(_technique: Technique, time: Time) -> Array:
    return np.ones(len(time.step))


def _step(technique: Technique, time: Time) -> Array:
    """The factor once more after every k epochs."""
    falls: Array = technique["factor"] ** np.floor(time.epoch / technique["epochs"])
    return falls


def _exponential(technique: Technique, time: Time) -> Array:
    """10^(-t/r), t in epochs, step by step."""
    falls: Array = 10 ** (-time.epoch / technique["epochs"])
    return falls


def _power(technique: Technique, time: Time) -> Array:
    """(1 + t/r)^-c, t in epochs, step by step."""
    falls: Array = (1 + time.epoch / technique["epochs"]) ** -technique["power"]
    return falls


def _piecewise(technique: Technique, time: Time) -> Array:
    """1, and from each of the given epochs on the factor that goes with it."""
    passed = np.searchsorted(technique["after"], time.epoch, side="right")
    return np.array([1.0, *technique["factors"]])[passed]


def _cosine(technique: Technique, time: Time) -> Array:
    """(1 + cos πt/T)/2 between 1 and the floor, step by step (Loshchilov and Hutter 2017)."""
    wave = (1 + np.cos(np.pi * time.epoch / time.epochs)) / 2
    falls: Array = technique["floor"] + (1 - technique["floor"]) * wave
    return falls


def _one_cycle(technique: Technique, time: Time) -> Array:
    """Up to 1 and down again along two half cosines, step by step (Smith 2018, PyTorch's form)."""
    last = time.steps * time.epochs - 1
    peak = max(technique["warmup"] * (last + 1) - 1, 0.0)
    low = technique["start"]
    rising = (1 - np.cos(np.pi * time.step / (peak or 1.0))) / 2
    fallen = (1 - np.cos(np.pi * (time.step - peak) / (last - peak or 1.0))) / 2
    up, down = low + (1 - low) * rising, 1 - (1 - low * technique["end"]) * fallen
    found: Array = np.where(time.step <= peak, up, down)
    return found


_EPOCHS = Real(0.0, open_low=True)
_SHARE = Real(0.0, 1.0, open_low=True)

SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(_constant),
    "step": Schedule(
        _step,
        {
            "epochs": Setting(10, Integer(1), "epochs from one fall to the next"),
            "factor": Setting(0.5, _SHARE, "what is left after a fall"),
        },
    ),
    "exponential": Schedule(
        _exponential, {"epochs": Setting(20.0, _EPOCHS, "epochs in which it falls to a tenth")}
    ),
    "power": Schedule(
        _power,
        {
            "epochs": Setting(10.0, _EPOCHS, "r: epochs after which, with c = 1, half is left"),
            "power": Setting(1.0, Real(0.0, open_low=True), "c: how steeply it falls"),
        },
    ),
    "piecewise": Schedule(
        _piecewise,
        {
            "after": Setting((10, 20), Items(Integer(1), 1), "epochs after which it changes"),
            "factors": Setting((0.1, 0.01), Items(Real(0.0, open_low=True), 1), "to what, of 1"),
        },
    ),
    "cosine": Schedule(_cosine, {"floor": Setting(0.0, Real(0.0, 1.0), "what is left at the end")}),
    PLATEAU: Schedule(
        _constant,
        {
            "factor": Setting(0.5, Real(0.0, 1.0, open_low=True, open_high=True), "what is left"),
            "patience": Setting(5, Integer(1), "epochs without a better value before it falls"),
            "monitor": Setting(
                "val_loss", Choice({name: {} for name in MONITORED}), "the value that is watched"
            ),
        },
    ),
    "one_cycle": Schedule(
        _one_cycle,
        {
            "warmup": Setting(
                0.3, Real(0.0, 1.0, open_low=True, open_high=True), "share of the steps that rise"
            ),
            "start": Setting(0.04, _SHARE, "where it starts, of its peak"),
            "end": Setting(1e-4, _SHARE, "where it ends, of its start"),
        },
    ),
}


def factors(technique: Technique, warmup: float, *, epoch: int, steps: int, epochs: int) -> Array:
    """The factors of an epoch's steps.

    Args:
        technique: the schedule.
        warmup: epochs in which the rate rises, in equal steps, to what the schedule has.
        epoch: counted from 1.
        steps: in an epoch.
        epochs: of the whole training.

    Returns:
        (steps, 1) in float64.
    """
    time = Time(np.arange((epoch - 1) * steps, epoch * steps), steps, epochs)
    found = SCHEDULES[technique.name].factors(technique, time)
    if warmup:
        found = found * np.minimum((time.step + 1) / (warmup * steps), 1.0)
    return found[:, None]


def plateau(technique: Technique, replicates: int) -> dict[str, Array]:
    """What a schedule on a plateau remembers of each replicate (R,); of others nothing."""
    if technique.name != PLATEAU:
        return {}
    return {
        "plateau.factor": np.ones(replicates),
        "plateau.best": np.full(replicates, np.nan),
        "plateau.waited": np.zeros(replicates, np.int64),
    }


def follow(
    technique: Technique, state: Mapping[str, Array], replicate: int, values: Mapping[str, float]
) -> None:
    """Notes in the state of a plateau what a replicate has reached after an epoch."""
    best, waited = state["plateau.best"], state["plateau.waited"]
    monitor = technique["monitor"].name
    value, sign = values[monitor], MONITORED[monitor]
    if np.isnan(best[replicate]) or sign * value < sign * best[replicate]:
        best[replicate], waited[replicate] = value, 0
        return
    waited[replicate] += 1
    if waited[replicate] >= technique["patience"]:
        state["plateau.factor"][replicate] *= technique["factor"]
        waited[replicate] = 0


def conflicts(technique: Technique, path: str) -> list[Problem]:
    """What is wrong between the parameters of a schedule."""
    if technique.name != "piecewise":
        return []
    after, given = technique["after"], technique["factors"]
    if len(after) != len(given):
        rule = f"must be as many as {path}.piecewise.after ({len(after)})"
        return [Problem(f"{path}.piecewise.factors", rule, len(given))]
    if any(late <= early for early, late in itertools.pairwise(after)):
        return [Problem(f"{path}.piecewise.after", "must rise", list(after))]
    return []
