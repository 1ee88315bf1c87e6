"""States of trials that outlive the driver: files, named by the trial and its epochs.

The driver owns every reference to a state, so its death loses them all. A state is saved when
training it again would cost more than `checkpoint.seconds`; a later run goes on from there. The
state before is removed when the new one is there, so that a write that was cut off costs one step.
"""

import re
import sys
import time

from sweep.scheduling.folders import Folder
from trainer import checkpoint
from trainer.state import State

PAUSES = (0.5, 1.0, 2.0)
"""Seconds after which a state that can't be read is tried again."""

NAME = re.compile(r"(\d+)-(\d+)\.npz")


class States:
    """The saved states of one study, in a folder that belongs to one driver.

    Threads may use it at the same time, each for another trial.
    """

    def __init__(self, folder: Folder) -> None:
        """Looks once at what is in the folder, which need not exist.

        Raises:
            OSError: it can't be read.
        """
        self._folder = folder
        self._told = ""
        self._saved: dict[int, set[int]] = {}
        for name in folder.names():
            if found := NAME.fullmatch(name):
                self._saved.setdefault(int(found[1]), set()).add(int(found[2]))

    def save(self, number: int, state: State) -> bool:
        """Saves a trial's state in the place of the one before it; says so if it can't be."""
        epoch = int(state["epoch"])
        try:
            with self._folder.written(_name(number, epoch)) as path:
                checkpoint.save(path, state, {"trial": number})
        except OSError as error:
            self._tell(f"the state of trial {number} can't be saved: {error}")
            return False
        before = self._saved.get(number, set())
        self._saved[number] = before | {epoch}
        # a later one was of no use when it was last looked at, or this one would not be here
        self._remove(number, {each for each in before if each < epoch})
        return True

    def load(self, number: int) -> State | None:
        """The trial's last saved state that is whole, if there is one; says which is not.

        Raises:
            OSError: one can't be read, though it was tried for some seconds.
        """
        for epoch in sorted(self._saved.get(number, ()), reverse=True):
            try:
                return self._read(_name(number, epoch))
            except (FileNotFoundError, checkpoint.CheckpointError) as error:
                self._tell(f"trial {number} can't go on from epoch {epoch}: {error}")
        return None

    def _read(self, name: str) -> State:
        pauses = iter(PAUSES)
        while True:
            try:
                with self._folder.fetched(name) as path:
                    return checkpoint.load(path).arrays
            except FileNotFoundError:
                raise
            except OSError:
                pause = next(pauses, None)
                if pause is None:
                    raise
                time.sleep(pause)

    def forget(self, number: int) -> None:
        """Removes what was saved of a trial."""
        self._remove(number, set(self._saved.get(number, ())))

    def clear(self) -> None:
        """Removes everything."""
        try:
            self._folder.discard()
        except OSError as error:
            self._tell(f"saved states can't be removed: {error}")
        self._saved.clear()

    def _remove(self, number: int, epochs: set[int]) -> None:
        for epoch in epochs:
            try:
                self._folder.remove(_name(number, epoch))
            except OSError as error:
                self._tell(f"a saved state can't be removed: {error}")
            self._saved[number].discard(epoch)
        if not self._saved.get(number):
            self._saved.pop(number, None)

    def _tell(self, text: str) -> None:
        """Says it, unless it was the last thing said."""
        if text != self._told:
            print(f"storage: {text}", file=sys.stderr)
        self._told = text


def _name(number: int, epoch: int) -> str:
    return f"{number:05}-{epoch:06}.npz"
