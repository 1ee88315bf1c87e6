"""A loop among fakes: a search, a runner in virtual time, and records that remember."""

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sweep.pruners import Ladder, NoPruner, Pruner
from sweep.scheduling.devices import Devices
from sweep.scheduling.loop import Loop
from sweep.scheduling.ports import Standing
from sweep.scheduling.ray_runner import SLOTS_SECONDS
from sweep.scheduling.runner import Advanced, Link, Lost, Outcome
from sweep.search.trial import State, Trial
from sweep.spec.study import Study, check
from trainer.state import State as TrainerState

EPOCHS = 9

LONGEST = 20_000.0
"""Seconds that no sweep here takes."""

Call = tuple[str, int]
Respond = Callable[[Link], Outcome]


def advanced(
    link: Link, value: float = 0.5, *, diverged: int | None = None, finished: bool | None = None
) -> Advanced:
    """What a runner brings when a link was trained to its end."""
    values = np.full(2, value)
    return Advanced(
        link.number,
        link.until,
        {"val_accuracy": values[None]},
        {"val_accuracy": values, "val_loss": -values},
        diverged,
        link.until == link.config["training"]["epochs"] if finished is None else finished,
        seconds=1.0,
    )


class FakeSearch:
    """A search with a fixed number of trials; `points` is how many it can suggest."""

    def __init__(self, calls: list[Call], study: Study, points: int) -> None:
        self._calls = calls
        self._target = study.target
        self._budget = study.search.worker_seconds
        self._points = points
        self.upcoming = 0
        self.ladder = Ladder(study.maximize)
        self.counts = dict.fromkeys(State, 0)
        self.trials: list[Trial] = []
        self.twins: dict[int, int] = {}
        self.segments: dict[int, tuple[int | None, int]] = {}
        self.unsynced: set[int] = set()
        self._spent: list[int] = []

    @property
    def wanted(self) -> int:
        spent = (each.worker_seconds for each in self.trials if each.ended)
        if self._budget is not None and sum(spent) >= self._budget:
            started = [number for call, number in self._calls if call == "start"]
            return sum(not self.trials[number].ended for number in started)
        done = sum(self.counts[each] for each in (State.COMPLETE, State.PRUNED, State.FAILED))
        return self._target - done

    def ask(self) -> Trial | None:
        number = self.upcoming
        parent, until = self.segments.get(number, (None, None))
        waits = parent is not None and not self.trials[parent].ended
        if number == self._points or waits:
            return None
        self.upcoming += 1
        self._calls.append(("ask", number))
        trial = Trial(number, {}, {"training": {"epochs": EPOCHS}})
        trial.parent, trial.until = parent, until
        self.trials.append(trial)
        return trial

    def twin(self, trial: Trial) -> Trial | None:
        return self.trials[self.twins[trial.number]] if trial.number in self.twins else None

    def start(self, trial: Trial) -> None:
        assert trial.state is State.WAITING
        self._calls.append(("start", trial.number))

    def report(self, trial: Trial) -> None:
        self._calls.append(("report", trial.number))
        self.unsynced.add(trial.number)
        self.ladder.record(trial.number, trial.epoch, trial.value)

    def sync(self) -> None:
        self.unsynced.clear()

    def spent(self) -> list[int]:
        spent, self._spent = self._spent, []
        return spent

    def end(self, trial: Trial) -> None:
        if trial.until is None:
            self._spent.append(trial.number)
        self._calls.append(("end", trial.number))
        self.counts[trial.state] += 1
        if trial.state is State.COMPLETE:
            self.ladder.complete.add(trial.number)


@dataclass
class FakeRunner:
    """Works on `size` links at a time in virtual time; further ones wait in a queue.

    `with_card` of them have a card, which those links take that ask for one, and no others; they
    are counted as seldom as on Ray.
    """

    calls: list[Call]
    size: int
    respond: Respond
    seconds: Callable[[Link], float]
    now: float = 0.0
    with_card: int = 0
    links: list[Link] = field(default_factory=list)
    most: int = 0
    adopted: dict[int, TrainerState] = field(default_factory=dict)
    busy_at_wait: list[int] = field(default_factory=list)
    _counted: tuple[float, int] = (-math.inf, 0)
    _dead: set[int] = field(default_factory=set)
    _order: Iterator[int] = field(default_factory=itertools.count)
    queue: list[Link] = field(default_factory=list)
    _busy: list[tuple[float, int, Link]] = field(default_factory=list)

    def slots(self) -> int:
        return self.size

    def cards(self) -> int:
        if self.now - self._counted[0] >= SLOTS_SECONDS:
            self._counted = self.now, self.with_card
        return self._counted[1]

    def lose_cards(self) -> None:
        """The machine with the cards dies, which is noticed soon; one without takes its place."""
        self.with_card = 0
        self._dead |= {order for _, order, link in self._busy if link.gpu}
        noticed = self.now + 0.6
        self._busy = [
            (noticed if order in self._dead else ends, order, link)
            for ends, order, link in self._busy
        ]
        heapq.heapify(self._busy)

    def submit(self, link: Link) -> None:
        self.calls.append(("submit", link.number))
        self.links.append(link)
        self.queue.append(link)
        self._work()
        self.most = max(self.most, len(self.queue) + len(self._busy))

    def _work(self) -> None:
        for link in list(self.queue):
            if not self._fits(link):
                continue
            self.queue.remove(link)
            entry = (self.now + self.seconds(link), next(self._order), link)
            heapq.heappush(self._busy, entry)

    def _fits(self, link: Link) -> bool:
        room = self.with_card if link.gpu else max(1, self.size) - self.with_card
        return sum(each.gpu == link.gpu for _, _, each in self._busy) < room

    def wait(self, seconds: float) -> list[Outcome]:
        self.calls.append(("wait", -1))
        self.busy_at_wait.append(len(self._busy))
        if not self._busy or self._busy[0][0] > self.now + seconds:
            self.now += seconds
            assert self.now < LONGEST, f"{len(self.queue)} links wait for ever"
            return []
        self.now, order, link = heapq.heappop(self._busy)
        self._work()
        return [Lost(link.number, "the node died") if order in self._dead else self.respond(link)]

    def state(self, number: int) -> TrainerState:
        self.calls.append(("state", number))
        return {"epoch": np.array(number)}

    def holds(self, number: int) -> bool:
        return number in self.adopted

    def adopt(self, number: int, state: TrainerState) -> None:
        self.adopted[number] = state

    def forget(self, number: int) -> None:
        self.calls.append(("forget", number))
        self.cancel(number)

    def cancel(self, number: int) -> None:
        self.queue = [link for link in self.queue if link.number != number]
        self._busy = [entry for entry in self._busy if entry[2].number != number]
        heapq.heapify(self._busy)

    def close(self) -> None: ...


@dataclass
class FakeRecords:
    """Keeps what it was told: the end of each trial, and which were the best so far."""

    calls: list[Call]
    endings: dict[int, tuple[State, str | None, str | None]] = field(default_factory=dict)
    best: list[int] = field(default_factory=list)
    weights: dict[int, TrainerState] = field(default_factory=dict)
    epochs_before: dict[int, list[int]] = field(default_factory=dict)

    def started(self, trial: Trial) -> None:
        self.calls.append(("started", trial.number))

    def advanced(self, trial: Trial, outcome: Advanced) -> None:
        self.calls.append(("advanced", trial.number))
        self.epochs_before.setdefault(trial.number, []).append(trial.epoch)

    def ended(
        self,
        trial: Trial,
        state: Callable[[], TrainerState] | None,
        error: str | None,
        *,
        best: bool,
    ) -> None:
        self.calls.append(("ended", trial.number))
        assert trial.number not in self.endings
        self.endings[trial.number] = (trial.state, trial.reason, error)
        if state is not None:
            self.weights[trial.number] = state()
        if best:
            self.best.append(trial.number)

    def left(self, trial: Trial) -> None:
        self.calls.append(("left", trial.number))


@dataclass
class FakeStates:
    """Keeps the epoch of the last state saved of a trial; `times` counts the savings.

    `unsynced` are the trials with values at rungs that a power cut would lose: who goes on from a
    state behind such a rung never reports there again.
    """

    epochs: dict[int, int]
    times: list[int] = field(default_factory=list)
    broken: bool = False
    unsynced: set[int] = field(default_factory=set)
    _settled: dict[int, bool] = field(default_factory=dict)

    def save(self, number: int, state: TrainerState) -> None:
        assert number not in self.unsynced
        if not self.broken:
            self.epochs[number] = int(state["epoch"])
        self.times.append(number)
        self._settled[number] = not self.broken

    def settled(self, seconds: float) -> dict[int, bool]:
        found, self._settled = self._settled, {}
        return found

    def load(self, number: int) -> TrainerState | None:
        return {"epoch": np.array(self.epochs[number])} if number in self.epochs else None

    def forget(self, number: int) -> None:
        self.epochs.pop(number, None)

    def clear(self) -> None:
        self.epochs.clear()


class Sweep:
    """A loop among fakes, and everything that can be seen of it."""

    def __init__(
        self,
        respond: Respond = advanced,
        *,
        trials: int = 6,
        points: int = 10_000,
        slots: int = 2,
        pruner: Pruner | None = None,
        seconds: Callable[[Link], float] = lambda link: 1.0,
        interrupts: Callable[["Sweep"], int] = lambda sweep: 0,
        best: Trial | None = None,
        direction: str = "maximize",
        saved: dict[int, int] | None = None,
        study: dict[str, Any] | None = None,
        devices: Devices | None = None,
        **search: Any,
    ) -> None:
        checked = check(
            {
                "name": "a",
                **(study or {}),
                "search": {"trials": trials, "pruner": "asha", **search},
                "training": {"epochs": EPOCHS},
                "objective": {"direction": direction},
            }
        )
        self.calls: list[Call] = []
        self.standings: list[Standing] = []
        self.search = FakeSearch(self.calls, checked, points)
        self.runner = FakeRunner(self.calls, slots, respond, seconds)
        self.records = FakeRecords(self.calls)
        self.saved = FakeStates(dict(saved or {}), unsynced=self.search.unsynced)
        self.stops: dict[int, list[int]] = {}
        self.loop = Loop(
            study=checked,
            search=self.search,
            runner=self.runner,
            pruner=pruner or NoPruner(),
            records=self.records,
            watch=self.standings.append,
            clock=lambda: self.runner.now,
            interrupts=lambda: interrupts(self),
            best=best,
            stops=lambda: self.stops.pop(int(self.runner.now), []),
            states=self.saved,
            devices=devices,
        )

    def run(self) -> "Sweep":
        """Runs the loop to its end and checks what must hold of every sweep."""
        self.loop.run()
        assert self.runner.most <= self.runner.size + 1
        started = [number for call, number in self.calls if call == "start"]
        assert started == sorted(set(started))
        assert sorted([*self.records.endings, *self.of("left")]) == started
        assert sorted(self.of("forget")) == started
        assert all(self.search.trials[number].ended for number in self.records.endings)
        assert all(standing.running <= self.runner.size + 1 for standing in self.standings)
        assert [standing.running for standing in self.standings].index(0) == (
            len(self.standings) - 1
        )
        return self

    def of(self, call: str) -> list[int]:
        """The trials of all calls of that name, in their order."""
        return [number for name, number in self.calls if name == call]

    def about(self, number: int) -> list[str]:
        """All calls about a trial, in their order."""
        return [name for name, about in self.calls if about == number]

    def states(self) -> list[State]:
        """The state of every trial that was started."""
        return [self.records.endings[number][0] for number in sorted(self.records.endings)]


def values(*found: float) -> Respond:
    """Each trial has its value from the first epoch to the last."""
    return lambda link: advanced(link, found[link.number])


def losing(times: int) -> Respond:
    """The second link of trial 1 is lost so many times."""
    left = itertools.repeat(None, times)

    def respond(link: Link) -> Outcome:
        if link.number == 1 and link.until == 3 and next(left, "done") is None:
            return Lost(1, "the worker died")
        return advanced(link)

    return respond
