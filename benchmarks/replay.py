"""A sweep over the table of learning curves: the real loop and search, in a clock of its own.

Links take the seconds that their epochs took when the table was made; decisions and suggestions
take none, so the clock shows what a method of search is worth, not what its driver costs (which
`sweep` and `scale` measure).
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from benchmarks import table
from benchmarks.own import Silence, unseen
from benchmarks.table import Table
from sweep.pruners import PRUNERS
from sweep.scheduling.loop import Loop
from sweep.scheduling.runner import Advanced, Link, Outcome
from sweep.search.sampler import NOTHING, Params, Result, Sampler, Whole
from sweep.search.search import Search
from sweep.search.storage import Storage
from sweep.search.trial import Trial
from sweep.spec import space
from sweep.spec.study import check
from trainer.state import State

ENDLESS = 10**9
"""Trials: more than any budget of time pays for."""


class Method(NamedTuple):
    """A way to search: two fields of `search`, and whether pruned trials are told as complete."""

    sampler: str
    pruner: str | dict[str, Any] = "none"
    told_complete: bool = False


class Find(NamedTuple):
    """A trial that was the best when it was complete: at what second, its value and its row."""

    seconds: float
    value: float
    row: int


class Replay:
    """A runner that looks links up in the table: so many slots, first come, first served."""

    def __init__(self, curves: Table, slots: int) -> None:
        self.now = 0.0
        self._curves = curves
        self._slots = slots
        self._rows: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        self._queue: deque[Link] = deque()
        self._busy: list[tuple[float, int, Advanced]] = []
        self._order = itertools.count()

    def slots(self) -> int:
        """As many as there are from the start."""
        return self._slots

    def cards(self) -> int:
        """None."""
        return 0

    def submit(self, link: Link) -> None:
        """Starts a link where a slot is free; else it waits for one."""
        self._queue.append(link)
        self._work()

    def wait(self, seconds: float) -> list[Outcome]:
        """The next outcome, and those that come in at the same time."""
        if not self._busy:
            return []
        self.now = self._busy[0][0]
        done: list[Outcome] = []
        while self._busy and self._busy[0][0] == self.now:
            done.append(heapq.heappop(self._busy)[2])
        self._work()
        return done

    def _work(self) -> None:
        while self._queue and len(self._busy) < self._slots:
            outcome = self._advanced(self._queue.popleft())
            entry = (self.now + outcome.seconds, next(self._order), outcome)
            heapq.heappush(self._busy, entry)

    def _advanced(self, link: Link) -> Advanced:
        if link.number not in self._rows:
            self._rows[link.number] = table.row(link.config)
        row, first = self._rows[link.number], self._epochs.get(link.number, 0)
        losses = self._curves.losses[row, first : link.until]
        bad = ~np.isfinite(losses).all(axis=1)
        diverged = first + int(bad.argmax()) + 1 if bad.any() else None
        epoch = diverged or link.until
        self._epochs[link.number] = epoch
        history = {"val_loss": losses[: epoch - first]}
        metrics = {"val_loss": losses[epoch - first - 1]}
        finished = diverged is not None or epoch == link.config["training"]["epochs"]
        seconds = (epoch - first) * float(self._curves.seconds[row])
        return Advanced(link.number, epoch, history, metrics, diverged, finished, seconds)

    def state(self, number: int) -> State:
        """Nothing but how far the trial has come."""
        return {"epoch": np.array(self._epochs[number])}

    def holds(self, number: int) -> bool:
        """Always: no link is ever lost."""
        return True

    def adopt(self, number: int, state: State) -> None:
        """Nothing to take over."""

    def cancel(self, number: int) -> None:
        """Nothing: a link that was submitted ends."""

    def forget(self, number: int) -> None:
        """Forgets which row the trial is and how far it had come."""
        self._rows.pop(number, None)
        self._epochs.pop(number, None)

    def close(self) -> None:
        """Nothing to give back."""


class Unstored:
    """A storage that keeps nothing: a replay is never resumed."""

    def trials(self) -> list[FrozenTrial]:
        """None."""
        return []

    def start(self, trial: Trial, distributions: Any) -> None:
        """Nothing."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """Nothing."""

    def end(self, trial: Trial) -> None:
        """Nothing."""


class ToldComplete(Whole):
    """A sampler that hears of pruned trials as Ray Tune's OptunaSearch does (2.60).

    Its `on_trial_complete` tells Optuna every ending with a result as complete, with the value
    that the trial had when its scheduler stopped it.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def ask(self, number: int, fixed: Mapping[str, space.Scalar] = NOTHING) -> Params | None:
        """Asks the sampler."""
        return self._sampler.ask(number, fixed)

    def tell(self, number: int, result: Result) -> None:
        """Takes the value at the last rung for the trial's own."""
        if result.state is TrialState.PRUNED and result.reports:
            value = result.reports[max(result.reports)]
            result = result._replace(state=TrialState.COMPLETE, scores=[value])
        self._sampler.tell(number, result)


@dataclass
class Finds(Silence):
    """Records of the best trials alone, each better than those before it."""

    clock: Callable[[], float]
    found: list[Find] = field(default_factory=list)

    def ended(self, trial: Trial, state: Any, error: str | None, *, best: bool) -> None:
        """Notes a trial that is the best so far."""
        if best:
            self.found.append(Find(self.clock(), trial.value, table.row(trial.config)))


def replayed(
    curves: Table,
    method: Method,
    slots: int,
    seed: int,
    *,
    goal: float,
    seconds: float,
    trials: int = ENDLESS,
) -> list[Find]:
    """The best trials of a sweep.

    It ends with a loss of `goal` or less, after `seconds`, or with so many trials.
    """
    search = {"trials": trials, "sampler": method.sampler, "pruner": method.pruner, "seed": seed}
    study = check(table.values() | {"search": search})
    asked = Search(study, cast("Storage", Unstored()))
    if method.told_complete:
        asked._sampler = ToldComplete(asked._sampler)
    runner = Replay(curves, slots)
    finds = Finds(lambda: runner.now)

    def interrupts() -> int:
        there = bool(finds.found) and finds.found[-1].value <= goal
        return 2 if there or runner.now >= seconds else 0

    chosen = study.search.pruner
    pruner = PRUNERS[chosen.name].make(chosen, study.name, study.epochs)
    loop = Loop(
        study, asked, runner, pruner, finds, unseen, clock=lambda: runner.now, interrupts=interrupts
    )
    loop.run()
    return [each for each in finds.found if each.seconds <= seconds]
