"""Checkpoints of trials: when their states are saved, and from which one a trial goes on.

Where states are saved is another's business (`sweep.scheduling.ports.States`), and so is what
becomes of a trial whose state is saved, or can't be.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

from sweep.scheduling.ports import Search, States
from sweep.scheduling.runner import Runner, StateLost
from sweep.search.trial import Trial
from sweep.spec.study import Study
from trainer.state import State

Fetch = Callable[[], State]
"""Fetches a trial's last state; raises `StateLost` if it can't be reached any more."""


@dataclass
class Checkpoints:
    """Takes states from the runner and gives them back to it; saves nothing without `states`.

    Attributes:
        seconds: the training that a crash may cost at most; endless where no state is saved.
    """

    study: Study
    search: Search
    runner: Runner
    states: States | None
    seconds: float = field(init=False)
    _awaited: dict[int, Fetch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seconds = self.study.checkpoint.seconds if self.states is not None else math.inf

    @property
    def awaited(self) -> int:
        """How many trials wait for their last state to be saved."""
        return len(self._awaited)

    def restore(self, trial: Trial) -> bool:
        """Hands the runner what was saved of a trial, or of its parent, if it has no state of it.

        False if it has a parent whose state is lost.

        Raises:
            OSError: what was saved can't be read at present.
        """
        if self.states is None or self.runner.holds(trial.number):
            return True
        saved = self.states.load(trial.number)
        if saved is not None and int(saved["epoch"]) == trial.until:
            # its driver died before the end was on record: its values are lost
            self.states.forget(trial.number)
            saved = None
        if saved is None and trial.parent is not None:
            saved = self.states.load(trial.parent)
        if saved is not None:
            self.runner.adopt(trial.number, saved)
            trial.epoch = max(trial.epoch, int(saved["epoch"]))
        return saved is not None or trial.parent is None

    def save(self, trial: Trial, seconds: float) -> None:
        """Saves a trial's state when a crash would cost more training than is allowed."""
        trial.unsaved += seconds
        if self.states is not None and trial.unsaved >= self.seconds:
            with suppress(StateLost):
                state = self.runner.state(trial.number)
                self.search.sync()  # who goes on from it reports no rung before it again
                self.states.save(trial.number, state)
                trial.unsaved = 0.0

    def keep(self, trial: Trial) -> bool:
        """Begins to save the last state of a segment from which others may start.

        Whether the trial is one, and its end is to wait until the state is saved.

        Raises:
            StateLost: it can't be reached any more.
        """
        whole = int(trial.config["training"]["epochs"])
        if self.states is None or trial.until is None or trial.until >= whole:
            return False
        fetch = self.last(trial)
        state = fetch()
        self.search.sync()
        self.states.save(trial.number, state)
        self._awaited[trial.number] = fetch
        return True

    def settled(
        self, trials: Mapping[int, Trial], seconds: float
    ) -> list[tuple[Trial, Fetch | None]]:
        """Those trials that need not wait any more, with their last state; None if it is not saved.

        What else could not be saved is tried again after the trial's next link. Waits up to
        `seconds` for the first, if any is awaited.
        """
        done: list[tuple[Trial, Fetch | None]] = []
        if self.states is None:
            return done
        for number, kept in self.states.settled(seconds if self._awaited else 0.0).items():
            if number in self._awaited:
                done.append((trials[number], self._awaited[number] if kept else None))
            elif number in trials and not kept:
                trials[number].unsaved = math.inf
        return done

    def last(self, trial: Trial) -> Fetch:
        """What fetches a trial's last state, from the runner and once."""
        return cache(lambda: self.runner.state(trial.number))

    def left(self, number: int) -> None:
        """Hears that a trial has ended or is left to a later run."""
        self._awaited.pop(number, None)

    def drop(self, numbers: Iterable[int]) -> None:
        """Drops what was saved of trials."""
        if self.states is not None:
            for number in numbers:
                self.states.forget(number)

    def clear(self) -> None:
        """Drops everything, with what a driver that died has left."""
        if self.states is not None:
            self.states.clear()
