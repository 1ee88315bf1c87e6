"""What users ask of a sweep that is running: by Ctrl-C, or from another terminal.

From another terminal a wish is a file in the study's folder. The driver looks for them a few times
a second, so they reach it wherever the folder does.
"""

import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SWEEP = "sweep"


class Wishes:
    """The wishes for one study; `path` is their folder, which need not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._interrupts = 0
        self._at_once = False
        self._trials: list[int] = []

    def stop(self, trial: int | None = None) -> None:
        """Asks, from anywhere, for the sweep to stop, or for one trial of it."""
        self._path.mkdir(exist_ok=True)
        subject = SWEEP if trial is None else str(trial)
        (self._path / f"{subject}-{uuid.uuid4().hex}").touch()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Counts Ctrl-C instead of raising; wishes for an earlier run are forgotten."""
        self._look()
        self._interrupts, self._trials = 0, []
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, lambda _signal, _frame: self._signalled())
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Lets Ctrl-C raise as well: what happens inside takes long, and nothing of it is kept.

        Raises:
            KeyboardInterrupt: one has come, inside or before.
        """
        self._at_once = True
        try:
            if self._interrupts:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def interrupts(self) -> int:
        """How often the user asked for the sweep to stop."""
        self._look()
        return self._interrupts

    def trials(self) -> list[int]:
        """The trials that the user wants stopped, each once."""
        self._look()
        trials, self._trials = self._trials, []
        return trials

    def _signalled(self) -> None:
        self._interrupted()
        if self._at_once:
            raise KeyboardInterrupt

    def _interrupted(self) -> None:
        self._interrupts += 1

    def _look(self) -> None:
        for path in self._path.glob("*-*"):
            path.unlink(missing_ok=True)
            subject = path.name.partition("-")[0]
            if subject == SWEEP:
                self._interrupted()
            elif subject.isdecimal():
                self._trials.append(int(subject))
