"""The search as the loop sees it: asks for trials, and is told what became of them.

Joins the sampler, which chooses, with the storage, which remembers. What is stored comes first, so
that no result is known to the sampler alone.
"""

from collections import deque
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweep.pruners import Ladder
from sweep.queue import Queue, Wanted
from sweep.search import samplers
from sweep.search.sampler import Params, Result
from sweep.search.storage import RECORD, STATES, WANTED, Storage
from sweep.search.trial import State, Trial
from sweep.spec.point import read_point
from sweep.spec.study import Study
from trainer.rules import ConfigError


class Search:
    """The trials of one study. Used from one thread."""

    def __init__(
        self,
        study: Study,
        storage: Storage,
        queue: Queue | None = None,
        version: str | None = None,
    ) -> None:
        """Takes up what is stored.

        Args:
            study: the study.
            storage: where its trials are remembered.
            queue: the configurations that users want tried.
            version: that of the user's code that trains; what another one trained is trained anew.
        """
        self._study = study
        self._storage = storage
        self._queue = queue
        self._taken: set[str] = set()
        self._distributions = {
            each.name: samplers.distribution(each) for each in study.parameters()
        }
        past = storage.trials()
        if queue is not None:
            for each in past:
                if WANTED in each.user_attrs:
                    queue.drop(each.user_attrs[WANTED])
        self._sampler = samplers.make(study, past)
        self._next = len(past)
        # What a driver that died left running is trained again under its own number: a trial is
        # a function of its configuration, so the record will be the one that was lost.
        running = [each for each in past if each.state is TrialState.RUNNING]
        self._again = deque(self._trial(each.number, each.params) for each in running)
        self._spent: list[int] = []
        self._started = {each.number for each in running}
        records = [each.user_attrs[RECORD] for each in past if each.state.is_finished()]
        ended = [each["state"] for each in records]
        self.counts = {state: ended.count(state.value) for state in State}
        self._worker_seconds = sum(each["worker_seconds"] for each in records)
        self._running = set(self._started)
        self._complete: dict[tuple[Any, ...], Trial] = {}
        self.ladder = Ladder(study.maximize)
        for each in past:
            for epoch, value in each.intermediate_values.items():
                self.ladder.record(each.number, epoch, value)
        complete = [self._recalled(each) for each in past if each.state is TrialState.COMPLETE]
        for trial in complete:
            self.ladder.complete.add(trial.number)
            if trial.environment.get("trainer") == version:
                self._remember(trial)
        fit = [each for each in complete if each.feasible]
        self.best = min(fit, key=lambda each: study.order(each.scores, each.number), default=None)

    @property
    def wanted(self) -> int:
        """How many trials must still be asked for to end with as many as the study wants.

        A trial that the user stopped does not count. Once the trials that ended have used up
        `search.worker_seconds`, only those that are on record as running must still end.
        """
        budget = self._study.search.worker_seconds
        if budget is not None and self._worker_seconds >= budget:
            return len(self._running)
        done = sum(self.counts[each] for each in (State.COMPLETE, State.PRUNED, State.FAILED))
        return max(0, self._study.target - done)

    @property
    def upcoming(self) -> int:
        """The number of the trial that is asked for next."""
        return self._again[0].number if self._again else self._next

    def _recalled(self, past: FrozenTrial) -> Trial:
        """A complete trial as it was when it ended."""
        trial, record = self._trial(past.number, past.params), past.user_attrs[RECORD]
        trial.state, trial.epoch = State.COMPLETE, record["epoch"]
        trial.values, trial.others = record["values"], list(past.values[1:])
        trial.excess, trial.metrics = dict(past.constraints), record["metrics"]
        trial.environment, trial.diagnosis = record["environment"], record["diagnosis"]
        return trial

    def twin(self, trial: Trial) -> Trial | None:
        """A complete trial with the same configuration and seeds, whose result is this one's too.

        With `search.reproducible` one that every run of the study knows by then. None where a
        result depends on the clock.
        """
        if trial.until is not None:  # its result depends on where it started, too
            return None
        timed = any(each.endswith("_seconds") for each in self._study.judges)
        found = None if timed else self._complete.get(self._key(trial))
        lag = self._study.lag
        return None if found is not None and lag and found.number > trial.number - lag else found

    def _remember(self, trial: Trial) -> None:
        """Keeps the first of the complete trials with a configuration."""
        known = self._complete.setdefault(self._key(trial), trial)
        if trial.number < known.number:
            self._complete[self._key(trial)] = trial

    def _key(self, trial: Trial) -> tuple[Any, ...]:
        return (self._study.replicates_of(trial.number), *sorted(trial.params.items()))

    def ask(self) -> Trial | None:
        """The next trial; None while the sampler has nothing to suggest."""
        if self._again:
            return self._again.popleft()
        wanted, fixed = self._wanted()
        params = self._sampler.ask(self._next, fixed)
        if params is None:
            return None
        self._next += 1
        trial = self._trial(self._next - 1, params)
        if wanted is not None:
            self._taken.add(wanted.name)
            trial.wanted = wanted.name
        return trial

    def _wanted(self) -> tuple[Wanted | None, Params]:
        """The configuration that users want next, and its point; the sampler chooses the rest."""
        while self._queue is not None and (wanted := self._queue.first(but=self._taken)):
            try:
                return wanted, read_point(self._study, wanted.point)
            except (ConfigError, RecursionError) as error:  # not what `enqueue` has checked
                self._queue.refuse(wanted.name, str(error))
        return None, {}

    def _trial(self, number: int, params: Params) -> Trial:
        trial = Trial(number, params, self._study.config(params))
        if segment := self._sampler.segment(number):
            trial.parent, trial.until = segment
        return trial

    def start(self, trial: Trial) -> None:
        """Puts a trial on record before anything is trained of it."""
        if trial.number not in self._started:
            self._storage.start(trial, self._distributions)
        if self._queue is not None and trial.wanted is not None:
            self._queue.drop(trial.wanted)
        self._running.add(trial.number)

    def spent(self) -> list[int]:
        """The trials from whose states none starts any more, each once."""
        spent, self._spent = self._spent, []
        return spent

    def report(self, trial: Trial) -> None:
        """Hears the value of a trial at a rung; with several objectives none is compared."""
        if len(self._study.objectives) > 1:
            return
        self._storage.report(trial.number, trial.epoch, trial.value)
        self.ladder.record(trial.number, trial.epoch, trial.value)

    def sync(self) -> None:
        """Waits until all that it has heard survives a power cut."""
        self._storage.sync()

    def end(self, trial: Trial) -> None:
        """Hears that a trial has ended."""
        self._storage.end(trial)
        self._running.discard(trial.number)
        self._worker_seconds += trial.worker_seconds
        complete = trial.state is State.COMPLETE
        reports = {
            epoch: values[trial.number]
            for epoch, values in self.ladder.values.items()
            if trial.number in values
        }
        scores = tuple(trial.scores) if complete else None
        result = Result(STATES[trial.state], scores, reports, trial.excess)
        self._sampler.tell(trial.number, result)
        self._spent += self._sampler.spent(trial.number)
        self.counts[trial.state] += 1
        if complete:
            self.ladder.complete.add(trial.number)
            self._remember(trial)
