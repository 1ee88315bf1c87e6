"""The links that are under way: what each is to train, on which kind of device, and since when."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from sweep.scheduling.devices import Devices
from sweep.scheduling.ports import Search
from sweep.scheduling.runner import Advanced, Link, Runner
from sweep.search.trial import Event, Trial
from sweep.spec.study import Study


@dataclass
class Links:
    """Makes the links of trials and submits them; a trial has one at a time.

    Without `devices` the study says whether links train on a card. A link ends with the epoch after
    `seconds` of training, so that the trial's state can be saved.

    Attributes:
        limit: seconds that a trial may take from rung to rung; endless if the study has no limit.
    """

    study: Study
    search: Search
    runner: Runner
    devices: Devices | None
    clock: Callable[[], float]
    seconds: float
    limit: float = field(init=False)
    # those that have a link under way, and since when they are on their way to the next rung
    _trials: dict[int, Trial] = field(default_factory=dict)
    _since: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limit = self.study.resources.timeout
        self.limit = math.inf if limit is None else limit

    @property
    def under_way(self) -> int:
        """How many there are."""
        return len(self._trials)

    def submit(self, trial: Trial) -> None:
        """Submits a trial's link to its next rung."""
        self._since.pop(trial.number, None)
        self.proceed(trial)

    def proceed(self, trial: Trial) -> None:
        """Submits the rest of the way to the rung; its parts share the time limit."""
        trial.happens(Event.SUBMIT)
        trial.submitted_at = self.clock()
        self._trials[trial.number] = trial
        self._since.setdefault(trial.number, trial.submitted_at)
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
                seconds=self.seconds,
                # Every trial has a first link; who has further ones is not known yet.
                ahead=self.search.wanted // slots if trial.epoch == 0 else 0,
            )
        )

    def again(self, trial: Trial) -> None:
        """Submits a link again that was lost through no fault of the trial's."""
        trial.happens(Event.LOSE)
        self.submit(trial)

    def took(self, trial: Trial, outcome: Advanced) -> None:
        """Adds up what a link took that has come back; the trial's epoch is the one before it."""
        if self.devices is not None:
            epochs = outcome.epoch - trial.epoch
            self.devices.took(trial.number, outcome.seconds, epochs, cold=outcome.cold)
        trial.worker_seconds += outcome.seconds
        trial.spends(outcome.timings(self.clock() - trial.submitted_at))

    def overdue(self) -> list[Trial]:
        """The trials that have taken too long to their next rung."""
        if math.isinf(self.limit):
            return []
        now = self.clock()
        late = [number for number, since in self._since.items() if now - since > self.limit]
        return [self._trials[number] for number in late]

    def leave_lost_cards(self) -> None:
        """Submits again, to a processor, what waits for a card when none is left."""
        if self.devices is None or self.runner.cards():
            return
        for number in self.devices.on_cards():
            self.runner.cancel(number)
            self.again(self._trials[number])

    def left(self, number: int) -> None:
        """Hears that a trial is not trained any more."""
        self._trials.pop(number, None)
        self._since.pop(number, None)
        if self.devices is not None:
            self.devices.left(number)

    def _on_card(self, trial: Trial, replicates: int) -> bool:
        if self.devices is None:
            return self.study.resources.cards > 0
        slots, cards = self.runner.slots(), self.runner.cards()
        return self.devices.card(
            trial.number, trial.config, replicates, slots=slots, cards=cards, now=self.clock()
        )
