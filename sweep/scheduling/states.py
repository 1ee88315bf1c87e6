"""States of trials that outlive the driver: files, one a trial.

The driver owns every reference to a state, so its death loses them all. A state is saved when
training it again would cost more than `checkpoint.seconds`; a later run goes on from there.
"""

from pathlib import Path

from trainer import checkpoint
from trainer.state import State


class States:
    """The saved states of one study, in the folder `path`, which need not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, number: int, state: State) -> None:
        """Saves a trial's state in the place of the one before it."""
        self._path.mkdir(exist_ok=True)
        checkpoint.save(self._file(number), state, {"trial": number})

    def load(self, number: int) -> State | None:
        """The trial's last saved state; None if there is none that is whole."""
        file = self._file(number)
        if not file.exists():
            return None
        try:
            return checkpoint.load(file).arrays
        except checkpoint.CheckpointError:
            return None

    def forget(self, number: int) -> None:
        """Removes what was saved of a trial."""
        self._file(number).unlink(missing_ok=True)

    def _file(self, number: int) -> Path:
        return self._path / f"{number:05}.npz"
