"""The scheduling loop: keeps every slot at work, and decides after each link what comes next.

It sees the outside through small ports (`sweep.scheduling.ports`) and a clock, so it can be driven
by fakes. A trial is submitted link by link; pruning it is not submitting the next one. Here is
decided what becomes of trials; `Suggestions` has the next one, `Links` what is under way of them,
`Checkpoints` what is saved.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.pruners import Ladder, Pruner
from sweep.scheduling.checkpoints import Checkpoints, Fetch
from sweep.scheduling.devices import Devices
from sweep.scheduling.links import Links
from sweep.scheduling.ports import Records, Search, Standing, States, Watch
from sweep.scheduling.runner import Advanced, Lost, Outcome, Raised, Runner, StateLost
from sweep.scheduling.suggestions import Suggestions
from sweep.search.trial import Event, State, Trial
from sweep.spec.objectives import excesses
from sweep.spec.study import Study
from trainer.diagnosis import diagnose, hopeless

RETRIES = 3
"""How often a trial may lose a link before it fails."""

POLL_SECONDS = 0.25
"""How long the loop sleeps at most before it looks at the clock and at the user's wishes."""


@dataclass
class Loop:
    """One sweep over a study; `run` returns when the study has its trials or was stopped.

    `interrupts` says how often the user asked to stop: after the first time no trial starts, after
    the second those that run are left for a later run. `stops` gives the numbers of trials that the
    user wants stopped, each once. `parameters` counts those of a configuration, so that a net which
    is too large for the study's constraints is never trained. `devices` chooses between cards and
    processors, where the study leaves that open. `trouble` says why the loop gave up.

    A trial from whose state others may start is put on record as ended when that state is kept.

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
    states: States | None = None
    parameters: Callable[[Mapping[str, Any]], int | None] | None = None
    devices: Devices | None = None
    best: Trial | None = None
    lost: int = 0
    fresh: int = 0
    trouble: str | None = None
    _started: float = 0.0
    _failures: int = 0
    # the trials that have started and whose end is not on record
    _active: dict[int, Trial] = field(default_factory=dict)
    _suggestions: Suggestions = field(init=False)
    _checkpoints: Checkpoints = field(init=False)
    _links: Links = field(init=False)

    def run(self) -> None:
        """Runs the sweep to its end."""
        self._started = self.clock()
        self._suggestions = Suggestions(self.study, self.search, self.pruner, self.parameters)
        self._checkpoints = Checkpoints(self.study, self.search, self.runner, self.states)
        seconds = self._checkpoints.seconds
        self._links = Links(self.study, self.search, self.runner, self.devices, self.clock, seconds)
        while True:
            if self.interrupts() > 1:
                self._leave_all()
            self._fill()
            if not self._active:
                break
            if self._goes_on():
                self._suggestions.prepare(self._active)
            self.watch(self._standing())
            for outcome in self.runner.wait(POLL_SECONDS):
                self._settle(outcome)
            self._end_saved()
            self._end_stopped()
            self._links.leave_lost_cards()
            self._end_overdue()
        self.watch(self._standing())
        if not self.search.wanted:
            self._checkpoints.clear()

    def _goes_on(self) -> bool:
        """Whether new trials may start."""
        limit = self.study.search.timeout
        late = limit is not None and self.clock() - self._started >= limit
        return not (self.interrupts() or late or self.trouble)

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
        while self._goes_on() and len(self._active) < self._room():
            trial = self._suggestions.take(self._active)
            if trial is None:
                return
            self.search.start(trial)
            self.records.started(trial)
            self._active[trial.number] = trial
            if self._settled_already(trial):
                self.watch(self._standing())
            else:
                self._go_on(trial)

    def _room(self) -> int:
        """How many trials may be active; one that waits for its state to be saved needs no slot."""
        return min(self.runner.slots() + 1 + self._checkpoints.awaited, self.search.wanted)

    def _settled_already(self, trial: Trial) -> bool:
        """Ends a trial of which nothing need be trained: its result is known, or of no use."""
        twin = self.search.twin(trial)
        if twin is not None:
            trial.repeats(twin)
            self.search.report(trial)
            self._end(trial, Event.FINISH, f"the same as trial {twin.number}")
        elif broken := self._suggestions.broken(trial):
            self._end(trial, Event.PRUNE, f"infeasible: {broken}")
        return trial.ended

    def _go_on(self, trial: Trial) -> None:
        """Submits a trial's next link, from the state that the runner or the storage has of it."""
        try:
            found = self._checkpoints.restore(trial)
        except OSError as error:
            self.trouble = f"the saved states of trials can't be read (storage): {error}"
            self._leave(trial)
            return
        if found:
            self._links.submit(trial)
        else:
            why = f"the state of trial {trial.parent}, from which it starts, is lost"
            self._end(trial, Event.GIVE_UP, "lost", why)

    def _end_saved(self) -> None:
        """Ends the trials whose last state is saved; gives up where one can't be."""
        # the runner waits for nothing while it has no link
        seconds = 0.0 if self._links.under_way else POLL_SECONDS
        for trial, fetch in self._checkpoints.settled(self._active, seconds):
            if fetch is not None:
                self._conclude(trial, fetch)
            else:
                self.trouble = "the states from which trials start can't be saved (storage)"
                self._leave(trial)

    def _end_stopped(self) -> None:
        for number in self.stops():
            trial = self._active.get(number)
            if trial is not None and not trial.ended:
                self._end(trial, Event.STOP, "stopped by the user")

    def _end_overdue(self) -> None:
        for trial in self._links.overdue():
            error = f"a link took more than {self._links.limit:g} s (resources.timeout)"
            self._end(trial, Event.TIME_OUT, "timed out", error)

    def _settle(self, outcome: Outcome) -> None:
        trial = self._active.get(outcome.number)
        if trial is None:  # stopped while its link was on the way back
            return
        match outcome:
            case Advanced():
                self._advance(trial, outcome)
            case Raised(unequipped=True) if self.devices is not None:
                self.devices.give_up(outcome.cause)
                self._links.again(trial)
            case Raised():
                self._end(trial, Event.RAISE, f"exception: {outcome.cause}", outcome.error)
            case Lost():
                self._lose(trial, outcome)

    def _lose(self, trial: Trial, outcome: Lost) -> None:
        self.lost += 1
        trial.losses += 1
        trial.happens(Event.LOSE)
        if trial.losses > RETRIES:
            self._end(trial, Event.GIVE_UP, "lost", f"lost {trial.losses} times: {outcome.error}")
        else:
            self._go_on(trial)

    def _advance(self, trial: Trial, outcome: Advanced) -> None:
        rung = trial.next_rung()
        self.records.advanced(trial, outcome)
        self._links.took(trial, outcome)
        trial.epoch = outcome.epoch
        trial.metrics = {name: values.tolist() for name, values in outcome.metrics.items()}
        trial.values = trial.metrics[self.study.metric]
        trial.others = self.study.others(trial.metrics)
        trial.excess = excesses(self.study.constraints, trial.metrics)
        trial.trained_in(outcome.environment, outcome.host)
        trial.diagnosis = diagnose(outcome.figures())
        if outcome.diverged is not None or not all(map(math.isfinite, trial.scores)):
            epoch = outcome.diverged or trial.epoch
            self._end(trial, Event.DIVERGE, f"diverged at epoch {epoch}")
            return
        # nothing is decided between rungs, where a link ends that was long enough
        if outcome.epoch < rung and not (outcome.finished or outcome.hopeless):
            trial.happens(Event.ADVANCE)
            self._checkpoints.save(trial, outcome.seconds)
            self._links.proceed(trial)
            return
        self.search.report(trial)
        if outcome.finished or trial.epoch == trial.until:
            self._finish(trial)
        elif cause := hopeless(outcome.history):
            self._end(trial, Event.PRUNE, f"hopeless at epoch {trial.epoch}: {cause}")
        elif self.pruner.keeps(trial.number, trial.epoch, self._ladder(trial)):
            trial.happens(Event.ADVANCE)
            self._checkpoints.save(trial, outcome.seconds)
            self._links.submit(trial)
        else:
            pruner = self.study.search.pruner.name
            self._end(trial, Event.PRUNE, f"{pruner} at epoch {trial.epoch}")

    def _ladder(self, trial: Trial) -> Ladder:
        """What the pruning of a trial may depend on."""
        ladder, lag = self.search.ladder, self.study.lag
        return ladder.seen_by(trial.number, lag) if lag else ladder

    def _leads(self, trial: Trial) -> bool:
        if not trial.feasible or self.best is None:
            return trial.feasible
        order, best = self.study.order, self.best  # of equals the first is the best
        return order(trial.scores, trial.number) < order(best.scores, best.number)

    def _finish(self, trial: Trial) -> None:
        """Ends a trial that is trained: at once, or when the state that others need is saved."""
        try:
            waits = self._checkpoints.keep(trial)
        except StateLost as error:  # it is trained again, as if its link had been lost
            trial.epoch = 0
            self.runner.forget(trial.number)
            self._lose(trial, Lost(trial.number, str(error)))
            return
        if waits:
            trial.happens(Event.FINISH)
            self._links.left(trial.number)
        else:
            self._end(trial, Event.FINISH)

    def _end(
        self, trial: Trial, event: Event, reason: str | None = None, error: str | None = None
    ) -> None:
        trial.happens(event, reason)
        learnt = trial.state in (State.COMPLETE, State.PRUNED) and trial.epoch > 0
        learnt = learnt and trial.same_as is None
        self._conclude(trial, self._checkpoints.last(trial) if learnt else None, error)

    def _conclude(self, trial: Trial, fetch: Fetch | None, error: str | None = None) -> None:
        """Puts on record that a trial has ended."""
        best = trial.state is State.COMPLETE and self._leads(trial)
        self.records.ended(trial, fetch, error, best=best)
        self.search.end(trial)
        self._suggestions.ended()
        self._forget(trial)
        self.fresh += 1
        self._failures += trial.state is State.FAILED
        if self._failures >= self.study.search.max_failures:
            self.trouble = f"{self._failures} trials failed (search.max_failures)"
        if best:
            self.best = trial
        self._checkpoints.drop(self.search.spent())

    def _forget(self, trial: Trial) -> None:
        self.runner.forget(trial.number)
        self._links.left(trial.number)
        self._checkpoints.left(trial.number)
        del self._active[trial.number]

    def _leave_all(self) -> None:
        for trial in list(self._active.values()):
            self._leave(trial)

    def _leave(self, trial: Trial) -> None:
        """Leaves a trial to a later run."""
        self.records.left(trial)
        self._forget(trial)
