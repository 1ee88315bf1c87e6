"""Writes states behind the loop's back, so that a slow storage holds no slot up.

A few threads write at the same time, each another trial's state. What waits is the last state of
each trial alone, in the order in which the trials came; a trial that saves again before its turn
replaces what waited. So a storage that is too slow makes the steps between saved states longer, and
the loop waits for it only when all that waits would take more memory than is allowed.
"""

import sys
import threading
from collections.abc import Mapping
from typing import NamedTuple

from sweep.scheduling.states import States
from trainer.state import State

WRITERS = 8
"""How many states are written at the same time: 500 slots save 25 a second, at 0.3 s each."""

MOST_BYTES = 512 * 2**20
"""The most bytes of states that wait or are under way, or one state if that is larger."""

PATIENCE_SECONDS = 60.0
"""How long the end waits for a storage that takes nothing."""


class _Task(NamedTuple):
    """What is to be done for a trial: to save a state of so many bytes, or to remove all (None)."""

    state: State | None
    size: int = 0


class WriteBehind:
    """The states of a study as the loop uses them (`sweep.scheduling.ports.States`).

    Used from one thread. What goes wrong is told by `states`, in the words that it has for it.
    """

    def __init__(self, states: States) -> None:
        """Owns `states` from now on."""
        self._states = states
        self._changed = threading.Condition()
        self._waiting: dict[int, _Task] = {}
        self._under_way: dict[int, _Task] = {}
        self._settled: dict[int, bool] = {}
        self._writers: list[threading.Thread] = []
        self._closed = False
        self._error: Exception | None = None

    def save(self, number: int, state: State) -> None:
        """Begins to save a trial's state; `settled` says what became of it."""
        task = _Task(state, sum(array.nbytes for array in state.values()))
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._has_room(number, task.size))
            self._begin(number, task)

    def settled(self, seconds: float) -> Mapping[int, bool]:
        """What became of the trials' last states since this was last asked: whether it was saved.

        Waits up to `seconds` for the first.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._settled, seconds)
            self._raise()
            found, self._settled = self._settled, {}
        return found

    def load(self, number: int) -> State | None:
        """The trial's last state, also while it waits to be written."""
        with self._changed:
            task = self._waiting.get(number) or self._under_way.get(number)
        return task.state if task is not None else self._states.load(number)

    def forget(self, number: int) -> None:
        """Begins to remove what was saved of a trial."""
        with self._changed:
            self._begin(number, _Task(None))

    def clear(self) -> None:
        """Removes everything, when what is under way is done."""
        with self._changed:
            self._waiting.clear()
            self._settled.clear()
        self._wait()
        self._states.clear()

    def close(self) -> None:
        """Waits for all that is to be done, and says what can't be; no thread is left.

        But for those that a storage holds which takes nothing: they end with this process.
        """
        self._wait()
        with self._changed:
            undone = self._under_way | self._waiting
            self._waiting.clear()
            self._closed = True
            self._changed.notify_all()
        if lost := sorted(number for number, task in undone.items() if task.state is not None):
            trials = ", ".join(map(str, lost))
            text = f"nothing was written in {PATIENCE_SECONDS:g} s; not saved: trials {trials}"
            print(f"storage: {text}", file=sys.stderr)
        if not undone:
            for writer in self._writers:
                writer.join()
        self._raise()

    def _has_room(self, number: int, size: int) -> bool:
        """Whether a trial's state may wait in the place of the one that waits now."""
        others = (task.size for each, task in self._waiting.items() if each != number)
        held = sum(others) + sum(task.size for task in self._under_way.values())
        return held == 0 or held + size <= MOST_BYTES

    def _begin(self, number: int, task: _Task) -> None:
        """Puts a task in the place of the one that waits; what became of others is not told."""
        self._raise()
        self._settled.pop(number, None)
        self._waiting[number] = task
        self._changed.notify_all()
        if len(self._writers) < min(WRITERS, len(self._waiting) + len(self._under_way)):
            self._writers.append(threading.Thread(target=self._write, daemon=True))
            self._writers[-1].start()

    def _wait(self) -> None:
        """Waits until nothing is to be done any more, or nothing gets done."""
        with self._changed:
            while self._waiting or self._under_way:
                if not self._changed.wait(PATIENCE_SECONDS):
                    return

    def _next(self) -> int | None:
        """The first trial that waits and of which nothing is under way."""
        return next((each for each in self._waiting if each not in self._under_way), None)

    def _write(self) -> None:
        """What a thread does until everything is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None)
                number = self._next()
                if number is None:
                    return
                task = self._under_way[number] = self._waiting.pop(number)
            saved, error = False, None
            try:
                if task.state is None:
                    self._states.forget(number)
                else:
                    saved = self._states.save(number, task.state)
            except Exception as raised:  # a bug: the driver's thread is to show it
                error = raised
            with self._changed:
                del self._under_way[number]
                self._error = self._error or error
                if task.state is not None and number not in self._waiting:
                    self._settled[number] = saved
                del task  # its state is not to be held while there is nothing to do
                self._changed.notify_all()

    def _raise(self) -> None:
        """Raises what a thread has raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error
