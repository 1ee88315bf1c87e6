"""A large cluster in a clock of its own, with the real loop, search and storage before it.

The driver's own work takes the time that it takes: the clock stands at least where the driver is,
so a driver that can't keep up leaves slots idle, as it would.
"""

import heapq
import resource
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.own import Silence, unseen
from benchmarks.sleeping import study
from sweep.pruners import NoPruner
from sweep.scheduling.loop import Loop
from sweep.scheduling.runner import Advanced, Link, Outcome
from sweep.search.search import Search
from sweep.search.storage import Storage
from trainer.state import State


class Simulated:
    """So many slots, each of which takes a link for so many seconds."""

    def __init__(self, slots: int, seconds: float) -> None:
        self.now = 0.0
        self._slots = slots
        self._seconds = seconds
        self._queue: deque[tuple[float, Link]] = deque()
        self._busy: list[tuple[float, int, Link]] = []
        self._seen = time.perf_counter()

    def slots(self) -> int:
        """The cluster's, from the start."""
        return self._slots

    def cards(self) -> int:
        """None."""
        return 0

    def submit(self, link: Link) -> None:
        """Starts a link where there is a free slot; else it waits for one."""
        self._pass()
        self._queue.append((self.now, link))
        self._work(self.now)

    def wait(self, seconds: float) -> list[Outcome]:
        """The outcomes that are there; the clock goes on to the first one."""
        self._pass()
        if not self._busy:
            return []
        self.now = max(self.now, self._busy[0][0])
        done: list[Outcome] = []
        while self._busy and self._busy[0][0] <= self.now:
            ended, _, link = heapq.heappop(self._busy)
            self._work(ended)
            accuracy = np.random.default_rng(link.number).random(1)
            figures = {"val_accuracy": accuracy}
            history = {"val_accuracy": accuracy[None]}
            done.append(
                Advanced(link.number, link.until, history, figures, None, True, self._seconds)
            )
        return done

    def _pass(self) -> None:
        """Lets the clock go on by what the driver has worked since the last look."""
        now = time.perf_counter()
        self.now += now - self._seen
        self._seen = now

    def _work(self, since: float) -> None:
        while self._queue and len(self._busy) < self._slots:
            submitted, link = self._queue.popleft()
            ends = max(since, submitted) + self._seconds
            heapq.heappush(self._busy, (ends, link.number, link))

    def state(self, number: int) -> State:
        """Nothing that could be continued."""
        return {"epoch": np.array(1)}

    def holds(self, number: int) -> bool:
        """Never: a trial is one link."""
        return False

    def adopt(self, number: int, state: State) -> None:
        """Nothing."""

    def cancel(self, number: int) -> None:
        """Nothing: a link that was submitted ends."""

    def forget(self, number: int) -> None:
        """Nothing: a link that was submitted ends."""

    def close(self) -> None:
        """Nothing."""


def ran(count: int, slots: int, seconds: float) -> dict[str, Any]:
    """What a sweep takes by that clock, and what the driver takes of processor and memory."""
    chosen = study(count)
    search = Search(chosen, Storage(Path("trials.log"), chosen.name, directions=chosen.directions))
    runner = Simulated(slots, seconds)
    began = time.process_time()
    Loop(chosen, search, runner, NoPruner(), Silence(), unseen).run()
    return {
        "seconds": runner.now,
        "ideal": -(-count // slots) * seconds,
        "processor": time.process_time() - began,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
