"""The scheduling loop: keeps every slot at work, and decides after each link what comes next.

It sees the outside through small ports (`sweep.scheduling.ports`) and a clock, so it can be driven
by fakes. A trial is submitted link by link; pruning it is not submitting the next one.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sweep.pruners import Ladder, Pruner
from sweep.scheduling.devices import Devices
from sweep.scheduling.ports import Records, Search, Standing, States, Watch
from sweep.scheduling.runner import Advanced, Link, Lost, Outcome, Raised, Runner, StateLost
from sweep.search.trial import Event, State, Trial
from sweep.spec.objectives import excesses
from sweep.spec.study import Study
from trainer.diagnosis import diagnose, hopeless
from trainer.state import State as TrainerState

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
    # the trials that have started and whose end is not on record; of those that have a link under
    # way, since when; of those that wait for their last state to be kept, what fetches it
    _active: dict[int, Trial] = field(default_factory=dict)
    _submitted: dict[int, float] = field(default_factory=dict)
    _saving: dict[int, Callable[[], TrainerState]] = field(default_factory=dict)
    _ready: deque[Trial] = field(default_factory=deque)
    _exhausted: bool = False

    def run(self) -> None:
        """Runs the sweep to its end."""
        self._started = self.clock()
        while True:
            if self.interrupts() > 1:
                self._leave_all()
            self._fill()
            if not self._active:
                break
            if self._goes_on() and not self._ready:  # so that no slot waits for the sampler
                self._ask()
            self.watch(self._standing())
            for outcome in self.runner.wait(POLL_SECONDS):
                self._settle(outcome)
            self._look_at_states()
            for number in self.stops():
                if number in self._active and number not in self._saving:
                    self._end(self._active[number], Event.STOP, "stopped by the user")
            self._leave_lost_cards()
            self._end_overdue()
        self.watch(self._standing())
        if self.states is not None and not self.search.wanted:
            self.states.clear()  # with what a driver that died has left

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
        while self._goes_on() and (
            len(self._active) < min(self.runner.slots() + 1 + len(self._saving), self.search.wanted)
        ):
            if not self._ready and not self._ask():
                return
            trial = self._ready.popleft()
            self.search.start(trial)
            self.records.started(trial)
            self._active[trial.number] = trial
            if self._settled_already(trial):
                self.watch(self._standing())
            else:
                self._go_on(trial)

    def _settled_already(self, trial: Trial) -> bool:
        """Ends a trial of which nothing need be trained: its result is known, or of no use."""
        twin = self.search.twin(trial)
        if twin is not None:
            trial.repeats(twin)
            self.search.report(trial)
            self._end(trial, Event.FINISH, f"the same as trial {twin.number}")
        elif broken := self._broken_from_the_start(trial):
            self._end(trial, Event.PRUNE, f"infeasible: {broken}")
        return trial.ended

    def _broken_from_the_start(self, trial: Trial) -> str | None:
        """The bounds that a trial breaks whatever it learns; keeps its excess."""
        bounds = [each for each in self.study.constraints if each.metric == "parameters"]
        if not bounds or self.parameters is None:
            return None
        count = self.parameters(trial.config)
        if count is None:
            return None
        trial.excess = excesses(bounds, {"parameters": [count]})
        return ", ".join(each.broken(count) for each in bounds if each.excess(count) > 0)

    def _ask(self) -> bool:
        pending = len(self._active) + len(self._ready)
        if self._exhausted or self.search.wanted <= pending or self._too_far_ahead():
            return False
        trial = self.search.ask()
        if trial is None:
            self._exhausted = True
            return False
        epochs = trial.until or int(trial.config["training"]["epochs"])
        trial.rungs = (*self.pruner.rungs(trial.number, epochs), epochs)
        self._ready.append(trial)
        return True

    def _too_far_ahead(self) -> bool:
        if not self.study.lag:
            return False
        seen = self.search.upcoming - self.study.lag
        return any(number <= seen for number in self._active)

    def _go_on(self, trial: Trial) -> None:
        """Submits a trial's next link, from the state that the runner or the storage has of it."""
        try:
            found = self._restore(trial)
        except OSError as error:
            self.trouble = f"the saved states of trials can't be read (storage): {error}"
            self._leave(trial)
            return
        if found:
            self._submit(trial)
        else:
            why = f"the state of trial {trial.parent}, from which it starts, is lost"
            self._end(trial, Event.GIVE_UP, "lost", why)

    def _restore(self, trial: Trial) -> bool:
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

    def _save(self, trial: Trial, seconds: float) -> None:
        """Saves a trial's state when a crash would cost more training than is allowed."""
        trial.unsaved += seconds
        if self.states is not None and trial.unsaved >= self.study.checkpoint.seconds:
            with suppress(StateLost):
                state = self.runner.state(trial.number)
                self.search.sync()  # who goes on from it reports no rung before it again
                self.states.save(trial.number, state)
                trial.unsaved = 0.0

    def _look_at_states(self) -> None:
        """Ends the trials whose last state is kept; what could not be saved is tried again."""
        if self.states is None:
            return
        # the runner waits for nothing while it has no link
        seconds = POLL_SECONDS if self._saving and not self._submitted else 0.0
        for number, kept in self.states.settled(seconds).items():
            if number not in self._active:
                continue
            trial = self._active[number]
            if kept and number in self._saving:
                self._conclude(trial, self._saving[number])
            elif number in self._saving:
                self.trouble = "the states from which trials start can't be saved (storage)"
                self._leave(trial)
            elif not kept:
                trial.unsaved = math.inf

    def _end_overdue(self) -> None:
        limit = self.study.resources.timeout
        if limit is None:
            return
        for number, since in list(self._submitted.items()):
            if self.clock() - since > limit:
                error = f"a link took more than {limit:g} s (resources.timeout)"
                self._end(self._active[number], Event.TIME_OUT, "timed out", error)

    def _submit(self, trial: Trial, since: float | None = None) -> None:
        """Submits the rest of the way to the next rung; `since` when the first part was."""
        trial.happens(Event.SUBMIT)
        trial.submitted_at = self.clock()
        self._submitted[trial.number] = trial.submitted_at if since is None else since
        replicates = self.study.replicates_of(trial.number)
        slots = max(1, self.runner.slots())
        self.runner.submit(
            Link(
                trial.number,
                trial.config,
                trial.next_rung(),
                self.study.search.seed,
                len(replicates),
                self.study.threads,
                gpu=self._on_card(trial, len(replicates)),
                first=replicates.start,
                seconds=self.study.checkpoint.seconds if self.states is not None else math.inf,
                # Every trial has a first link; who has further ones is not known yet.
                ahead=self.search.wanted // slots if trial.epoch == 0 else 0,
            )
        )

    def _on_card(self, trial: Trial, replicates: int) -> bool:
        if self.devices is None:
            return self.study.resources.cards > 0
        slots, cards = self.runner.slots(), self.runner.cards()
        return self.devices.card(
            trial.number, trial.config, replicates, slots=slots, cards=cards, now=self.clock()
        )

    def _leave_lost_cards(self) -> None:
        """Submits again, to a processor, what waits for a card when none is left."""
        if self.devices is None or self.runner.cards():
            return
        for number in self.devices.on_cards():
            trial = self._active[number]
            self.runner.cancel(number)
            trial.happens(Event.LOSE)  # and none of its losses: it is no fault of the trial's
            self._submit(trial)

    def _settle(self, outcome: Outcome) -> None:
        trial = self._active.get(outcome.number)
        if trial is None:  # stopped while its link was on the way back
            return
        since = self._submitted.pop(trial.number)
        match outcome:
            case Advanced():
                self._advance(trial, outcome, since)
            case Raised(unequipped=True) if self.devices is not None:
                self.devices.give_up(outcome.cause)
                trial.happens(Event.LOSE)
                self._submit(trial)
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

    def _advance(self, trial: Trial, outcome: Advanced, since: float) -> None:
        rung = trial.next_rung()
        self.records.advanced(trial, outcome)
        if self.devices is not None:
            epochs = outcome.epoch - trial.epoch
            self.devices.took(trial.number, outcome.seconds, epochs, cold=outcome.cold)
        trial.epoch = outcome.epoch
        trial.worker_seconds += outcome.seconds
        trial.spends(outcome.timings(self.clock() - trial.submitted_at))
        trial.metrics = {name: values.tolist() for name, values in outcome.metrics.items()}
        trial.values = trial.metrics[self.study.metric]
        trial.others = self.study.others(trial.metrics)
        trial.excess = excesses(self.study.constraints, trial.metrics)
        trial.trained_in(outcome.environment, outcome.host)
        figures = outcome.figures()
        trial.diagnosis = diagnose(figures)
        if outcome.diverged is not None or not all(map(math.isfinite, trial.scores)):
            epoch = outcome.diverged or trial.epoch
            self._end(trial, Event.DIVERGE, f"diverged at epoch {epoch}")
            return
        # nothing is decided between rungs, where a link ends that was long enough
        if outcome.epoch < rung and not (outcome.finished or outcome.hopeless):
            trial.happens(Event.ADVANCE)
            self._save(trial, outcome.seconds)
            self._submit(trial, since)
            return
        self.search.report(trial)
        if outcome.finished or trial.epoch == trial.until:
            self._finish(trial)
        elif cause := hopeless(outcome.history):
            self._end(trial, Event.PRUNE, f"hopeless at epoch {trial.epoch}: {cause}")
        elif self.pruner.keeps(trial.number, trial.epoch, self._ladder(trial)):
            trial.happens(Event.ADVANCE)
            self._save(trial, outcome.seconds)
            self._submit(trial)
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
        """Ends a trial that is trained: at once, or when the state that others need is kept."""
        if self.states is None or not _may_be_parent(trial):
            self._end(trial, Event.FINISH)
            return
        fetch = cache(lambda: self.runner.state(trial.number))
        try:
            state = fetch()
        except StateLost as error:  # it is trained again, as if its link had been lost
            trial.epoch = 0
            self.runner.forget(trial.number)
            self._lose(trial, Lost(trial.number, str(error)))
            return
        trial.happens(Event.FINISH)
        if self.devices is not None:
            self.devices.left(trial.number)
        self.search.sync()
        self.states.save(trial.number, state)
        self._saving[trial.number] = fetch

    def _end(
        self, trial: Trial, event: Event, reason: str | None = None, error: str | None = None
    ) -> None:
        trial.happens(event, reason)
        learnt = trial.state in (State.COMPLETE, State.PRUNED) and trial.epoch > 0
        learnt = learnt and trial.same_as is None
        fetch = cache(lambda: self.runner.state(trial.number)) if learnt else None
        self._conclude(trial, fetch, error)

    def _conclude(
        self, trial: Trial, fetch: Callable[[], TrainerState] | None, error: str | None = None
    ) -> None:
        """Puts on record that a trial has ended."""
        best = trial.state is State.COMPLETE and self._leads(trial)
        self.records.ended(trial, fetch, error, best=best)
        self.search.end(trial)
        self._exhausted = False
        self._forget(trial)
        self.fresh += 1
        self._failures += trial.state is State.FAILED
        if self._failures >= self.study.search.max_failures:
            self.trouble = f"{self._failures} trials failed (search.max_failures)"
        if best:
            self.best = trial
        spent = self.search.spent()
        if self.states is not None:
            for number in spent:
                self.states.forget(number)

    def _forget(self, trial: Trial) -> None:
        self.runner.forget(trial.number)
        self._submitted.pop(trial.number, None)
        self._saving.pop(trial.number, None)
        if self.devices is not None:
            self.devices.left(trial.number)
        del self._active[trial.number]

    def _leave_all(self) -> None:
        for trial in list(self._active.values()):
            self._leave(trial)

    def _leave(self, trial: Trial) -> None:
        """Leaves a trial to a later run."""
        self.records.left(trial)
        self._forget(trial)


def _may_be_parent(trial: Trial) -> bool:
    """Whether others may start from its last state: it is a segment that is not the last."""
    return trial.until is not None and trial.until < int(trial.config["training"]["epochs"])
