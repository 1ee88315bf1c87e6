"""The scheduling loop: keeps every slot at work, and decides after each link what comes next.

It sees the outside through small ports (search, runner, records, watch) and a clock, so it can be
driven by fakes. A trial is submitted link by link; pruning it is not submitting the next one.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sweep.pruners import Ladder, Pruner
from sweep.scheduling.runner import Advanced, Link, Lost, Outcome, Raised, Runner
from sweep.search.trial import Event, State, Trial
from sweep.spec.study import Study
from trainer.training import State as TrainerState

RETRIES = 3
"""How often a trial may lose a link before it fails."""

POLL_SECONDS = 0.25
"""How long the loop sleeps at most before it looks at the clock and at the user's wishes."""


class Search(Protocol):
    """Who chooses trials and remembers them (see `sweep.search.search`)."""

    ladder: Ladder
    counts: dict[State, int]

    @property
    def wanted(self) -> int:
        """How many more trials must end."""

    @property
    def upcoming(self) -> int:
        """The number of the next trial that is new."""

    def ask(self) -> Trial | None:
        """The next trial, or None when there are no more."""

    def start(self, trial: Trial) -> None:
        """Puts a trial on record as running."""

    def report(self, trial: Trial) -> None:
        """Hears a value at a rung."""

    def end(self, trial: Trial) -> None:
        """Hears an ending."""


class Records(Protocol):
    """Who writes down what happens (see `sweep.recording.logbook`); never waits for the network."""

    def started(self, trial: Trial) -> None:
        """A trial's first link was submitted."""

    def advanced(self, trial: Trial, outcome: Advanced) -> None:
        """A link was trained; the trial's epoch is still the one before it."""

    def ended(
        self,
        trial: Trial,
        state: Callable[[], TrainerState] | None,
        error: str | None,
        *,
        best: bool,
    ) -> None:
        """A trial ended; `state` fetches what it has learnt, if it has learnt anything.

        `best` says that no complete trial so far is better.
        """

    def left(self, trial: Trial) -> None:
        """A trial was left where it stands; a later run goes on with it."""


@dataclass
class Standing:
    """How a sweep stands; `fresh` counts the trials that ended in this very run."""

    target: int
    counts: Mapping[State, int]
    fresh: int = 0
    running: int = 0
    best: Trial | None = None
    lost: int = 0
    stopping: bool = False


Watch = Callable[[Standing], None]


@dataclass
class Loop:
    """One sweep over a study; `run` returns when the study has its trials or was stopped.

    `interrupts` says how often the user asked to stop: after the first time no trial starts, after
    the second those that run are left for a later run. `stops` gives the numbers of trials that the
    user wants stopped, each once. `trouble` says why the loop gave up.

    With `search.reproducible` trial n starts when trials 0 … n - lag have ended, and its pruning
    sees just these, so that neither depends on what was quicker.
    """

    study: Study
    search: Search
    runner: Runner
    pruner: Pruner
    records: Records
    watch: Watch
    clock: Callable[[], float] = time.monotonic
    interrupts: Callable[[], int] = lambda: 0
    stops: Callable[[], Collection[int]] = tuple
    best: Trial | None = None
    lost: int = 0
    fresh: int = 0
    trouble: str | None = None
    _failures: int = 0
    _active: dict[int, Trial] = field(default_factory=dict)
    _ready: deque[Trial] = field(default_factory=deque)
    _exhausted: bool = False

    def run(self) -> None:
        """Runs the sweep to its end."""
        started = self.clock()
        limit = self.study.search.timeout
        while True:
            late = limit is not None and self.clock() - started >= limit
            interrupts = self.interrupts()
            going_on = not (interrupts or late or self.trouble)
            if interrupts > 1:
                self._leave_all()
            elif going_on:
                self._fill()
            if not self._active:
                break
            if going_on and not self._ready:  # so that no slot waits for the sampler
                self._ask()
            self.watch(self._standing())
            for outcome in self.runner.wait(POLL_SECONDS):
                self._settle(outcome)
            for number in self.stops():
                if number in self._active:
                    self._end(self._active[number], Event.STOP, "stopped by the user")
        self.watch(self._standing())

    def _standing(self) -> Standing:
        return Standing(
            target=self.study.target,
            counts=self.search.counts,
            fresh=self.fresh,
            running=len(self._active),
            best=self.best,
            lost=self.lost,
            stopping=self.interrupts() > 0,
        )

    def _fill(self) -> None:
        """Starts trials until every slot has a link, and one more waits behind them.

        The one behind is what a worker takes up while the driver looks at its last result.
        """
        while len(self._active) <= self.runner.slots():
            if not self._ready and not self._ask():
                return
            trial = self._ready.popleft()
            self.search.start(trial)
            self.records.started(trial)
            self._active[trial.number] = trial
            self._submit(trial)

    def _ask(self) -> bool:
        pending = len(self._active) + len(self._ready)
        if self._exhausted or self.search.wanted <= pending or self._too_far_ahead():
            return False
        trial = self.search.ask()
        if trial is None:
            self._exhausted = True
            return False
        epochs = int(trial.config["training"]["epochs"])
        trial.rungs = (*self.pruner.rungs(trial.number, epochs), epochs)
        self._ready.append(trial)
        return True

    def _too_far_ahead(self) -> bool:
        if not self.study.lag:
            return False
        seen = self.search.upcoming - self.study.lag
        return any(number <= seen for number in self._active)

    def _submit(self, trial: Trial) -> None:
        trial.happens(Event.SUBMIT)
        self.runner.submit(
            Link(
                trial.number,
                trial.config,
                trial.next_rung(),
                self.study.search.seed,
                self.study.replicates,
                self.study.threads,
            )
        )

    def _settle(self, outcome: Outcome) -> None:
        trial = self._active.get(outcome.number)
        if trial is None:  # stopped while its link was on the way back
            return
        match outcome:
            case Advanced():
                self._advance(trial, outcome)
            case Raised():
                self._end(trial, Event.RAISE, "exception", outcome.error)
            case Lost():
                self._lose(trial, outcome)

    def _lose(self, trial: Trial, outcome: Lost) -> None:
        self.lost += 1
        trial.losses += 1
        trial.happens(Event.LOSE)
        if trial.losses > RETRIES:
            self._end(trial, Event.GIVE_UP, "lost", f"lost {trial.losses} times: {outcome.error}")
        else:
            self._submit(trial)

    def _advance(self, trial: Trial, outcome: Advanced) -> None:
        self.records.advanced(trial, outcome)
        trial.epoch = outcome.epoch
        trial.metrics = {name: values.tolist() for name, values in outcome.metrics.items()}
        trial.values = trial.metrics[self.study.metric]
        if outcome.diverged is not None or not math.isfinite(trial.value):
            epoch = outcome.diverged or trial.epoch
            self._end(trial, Event.DIVERGE, f"diverged at epoch {epoch}")
            return
        self.search.report(trial)
        if outcome.finished:
            self._end(trial, Event.FINISH)
        elif self.pruner.keeps(trial.number, trial.epoch, self._ladder(trial)):
            trial.happens(Event.ADVANCE)
            self._submit(trial)
        else:
            pruner = self.study.search.pruner.name
            self._end(trial, Event.PRUNE, f"{pruner} at epoch {trial.epoch}")

    def _ladder(self, trial: Trial) -> Ladder:
        """What the pruning of a trial may depend on."""
        ladder, lag = self.search.ladder, self.study.lag
        return ladder.seen_by(trial.number, lag) if lag else ladder

    def _leads(self, trial: Trial) -> bool:
        if self.best is None:
            return True
        sign = -1 if self.study.maximize else 1
        better, number = sign * trial.value, trial.number  # of equals the first is the best
        return (better, number) < (sign * self.best.value, self.best.number)

    def _end(
        self, trial: Trial, event: Event, reason: str | None = None, error: str | None = None
    ) -> None:
        trial.happens(event, reason)
        learnt = trial.epoch > 0 and event not in (Event.RAISE, Event.GIVE_UP, Event.STOP)
        fetch = (lambda: self.runner.state(trial.number)) if learnt else None
        best = trial.state is State.COMPLETE and self._leads(trial)
        self.records.ended(trial, fetch, error, best=best)
        self.search.end(trial)
        self.runner.forget(trial.number)
        self.fresh += 1
        self._failures += trial.state is State.FAILED
        if self._failures >= self.study.search.max_failures:
            self.trouble = f"{self._failures} trials failed (search.max_failures)"
        if best:
            self.best = trial
        del self._active[trial.number]

    def _leave_all(self) -> None:
        for trial in self._active.values():
            self.records.left(trial)
            self.runner.forget(trial.number)
        self._active.clear()
