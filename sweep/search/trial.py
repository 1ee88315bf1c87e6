"""The life of a trial: one table, states × events → state. No I/O happens here.

A trial waits until its first link is submitted, runs link after link, and ends once. An event that
the table does not allow raises and changes nothing. A link that was lost with its worker goes back
to waiting, and only such a link is ever run again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a trial stands."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"


class Event(StrEnum):
    """What happens to a trial."""

    SUBMIT = "submit"
    ADVANCE = "advance"
    FINISH = "finish"
    PRUNE = "prune"
    DIVERGE = "diverge"
    RAISE = "raise"
    TIME_OUT = "time out"
    LOSE = "lose"
    GIVE_UP = "give up"
    STOP = "stop"


CHANGED = "changed"
"""In an environment: the names of what not all links of a trial had in common."""

ENDED = frozenset({State.COMPLETE, State.PRUNED, State.FAILED, State.STOPPED})

TABLE: Mapping[tuple[State, Event], State] = {
    (State.WAITING, Event.SUBMIT): State.RUNNING,
    (State.WAITING, Event.STOP): State.STOPPED,
    (State.WAITING, Event.FINISH): State.COMPLETE,
    (State.WAITING, Event.PRUNE): State.PRUNED,
    (State.WAITING, Event.GIVE_UP): State.FAILED,
    (State.RUNNING, Event.ADVANCE): State.WAITING,
    (State.RUNNING, Event.FINISH): State.COMPLETE,
    (State.RUNNING, Event.PRUNE): State.PRUNED,
    (State.RUNNING, Event.DIVERGE): State.PRUNED,
    (State.RUNNING, Event.RAISE): State.FAILED,
    (State.RUNNING, Event.TIME_OUT): State.FAILED,
    (State.RUNNING, Event.LOSE): State.WAITING,
    (State.RUNNING, Event.STOP): State.STOPPED,
}


class IllegalEvent(RuntimeError):
    """An event that can't happen to a trial in its state: a bug of the caller."""


def after(state: State, event: Event) -> State:
    """The state that follows.

    Raises:
        IllegalEvent: the table has no such step.
    """
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalEvent(f"{event} can't happen to a trial that is {state}") from None


@dataclass
class Trial:
    """A trial as the loop sees it; `state` changes through `happens` alone.

    `worker_seconds` is what its links took on workers, of those that came back to this driver, and
    `timings` the seconds by what they went into; `host` is the machine of its last link, and
    `environment` what its numbers depend on there, with what was otherwise before as `changed`;
    `values` are those of the leading objective, one a replicate, `others` the means of the other
    objectives; `excess` says how far the trial is beyond each constraint. `wanted` names the entry
    of the queue that it was made of, `same_as` the trial whose result is its own as well, `parent`
    the one from whose state it starts; `until` is where it ends if that is before the last epoch.
    """

    number: int
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    rungs: tuple[int, ...] = ()
    state: State = State.WAITING
    reason: str | None = None
    epoch: int = 0
    losses: int = 0
    unsaved: float = 0.0
    worker_seconds: float = 0.0
    submitted_at: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    values: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    excess: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    host: str = ""
    diagnosis: Sequence[str] = ()
    wanted: str | None = None
    same_as: int | None = None
    parent: int | None = None
    until: int | None = None

    def happens(self, event: Event, reason: str | None = None) -> None:
        """Takes the step that an event causes, and keeps the reason of an ending.

        Raises:
            IllegalEvent: and changes nothing.
        """
        self.state = after(self.state, event)
        if self.state in ENDED:
            self.reason = reason

    def spends(self, timings: Mapping[str, float]) -> None:
        """Adds seconds to those that went into the same."""
        for name, seconds in timings.items():
            self.timings[name] = self.timings.get(name, 0.0) + seconds

    def trained_in(self, environment: Mapping[str, Any], host: str) -> None:
        """Takes where its last link was trained; keeps what of that was otherwise before."""
        names = {*self.environment, *environment} - {CHANGED} if self.environment else set()
        changed = {name for name in names if self.environment.get(name) != environment.get(name)}
        changed |= set(self.environment.get(CHANGED, ()))
        self.environment = {**environment, **({CHANGED: sorted(changed)} if changed else {})}
        self.host = host

    @property
    def ended(self) -> bool:
        """Whether nothing can happen to the trial any more."""
        return self.state in ENDED

    @property
    def value(self) -> float:
        """The mean of the leading objective over the replicates."""
        return sum(self.values) / len(self.values) if self.values else float("nan")

    @property
    def scores(self) -> list[float]:
        """The means of all objectives, the leading one first."""
        return [self.value, *self.others]

    def repeats(self, twin: "Trial") -> None:
        """Takes over the result of a trial with the same configuration and seeds."""
        self.same_as, self.epoch = twin.number, twin.epoch
        self.values, self.others = twin.values, twin.others
        self.excess, self.metrics = twin.excess, twin.metrics
        self.environment, self.diagnosis = twin.environment, twin.diagnosis

    @property
    def feasible(self) -> bool:
        """Whether it keeps every constraint, as far as is known."""
        return all(each <= 0 for each in self.excess.values())

    def record(self) -> dict[str, Any]:
        """What is stored of a trial that has ended, beside its parameters and values at rungs."""
        return {
            "state": self.state.value,
            "reason": self.reason,
            "epoch": self.epoch,
            "worker_seconds": self.worker_seconds,
            "timings": self.timings,
            "value": self.value if self.values else None,
            "values": self.values,
            "metrics": self.metrics,
            "environment": dict(self.environment),
            "diagnosis": list(self.diagnosis),
        }

    def next_rung(self) -> int:
        """The number of epochs to which the next link trains."""
        return next(rung for rung in self.rungs if rung > self.epoch)
