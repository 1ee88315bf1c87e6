"""How the loop sees the outside: small ports, so that it can be driven by fakes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sweep.pruners import Ladder
from sweep.scheduling.runner import Advanced
from sweep.search.trial import State, Trial
from trainer.state import State as TrainerState


class Search(Protocol):
    """Who chooses trials and remembers them (see `sweep.search.search`)."""

    ladder: Ladder
    counts: dict[State, int]

    @property
    def wanted(self) -> int:
        """How many more trials must end."""

    @property
    def upcoming(self) -> int:
        """The number of the next trial that is new."""

    def ask(self) -> Trial | None:
        """The next trial, or None while there is none to suggest."""

    def twin(self, trial: Trial) -> Trial | None:
        """A complete trial whose result a new one is known to repeat."""

    def spent(self) -> list[int]:
        """The trials from whose states none starts any more, each once."""

    def start(self, trial: Trial) -> None:
        """Puts a trial on record as running."""

    def report(self, trial: Trial) -> None:
        """Hears a value at a rung."""

    def sync(self) -> None:
        """Waits until all that it has heard survives a power cut."""

    def end(self, trial: Trial) -> None:
        """Hears an ending."""


class Records(Protocol):
    """Who writes down what happens (see `sweep.recording.logbook`); never waits for the network."""

    def started(self, trial: Trial) -> None:
        """A trial's first link was submitted."""

    def advanced(self, trial: Trial, outcome: Advanced) -> None:
        """A link was trained; the trial's epoch is still the one before it."""

    def ended(
        self,
        trial: Trial,
        state: Callable[[], TrainerState] | None,
        error: str | None,
        *,
        best: bool,
    ) -> None:
        """A trial ended; `state` fetches what it has learnt, if it has learnt anything.

        `best` says that no complete trial so far is better.
        """

    def left(self, trial: Trial) -> None:
        """A trial was left where it stands; a later run goes on with it."""


class States(Protocol):
    """Who keeps states beyond the life of this driver (see `sweep.scheduling.write_behind`)."""

    def save(self, number: int, state: TrainerState) -> None:
        """Begins to keep a trial's state in the place of the one before it."""

    def settled(self, seconds: float) -> Mapping[int, bool]:
        """Whether the trials' last states could be kept, of those that are done with, each once.

        Waits up to `seconds` for the first.
        """

    def load(self, number: int) -> TrainerState | None:
        """The last state that was to be kept of a trial, if there is one.

        Raises:
            OSError: it can't be read at present.
        """

    def forget(self, number: int) -> None:
        """Drops what was kept of a trial."""

    def clear(self) -> None:
        """Drops everything."""


@dataclass
class Standing:
    """How a sweep stands; `fresh` counts the trials that ended in this very run.

    `unrecorded` says in words how far its record is behind, if it is.
    """

    target: int
    counts: Mapping[State, int]
    fresh: int = 0
    running: int = 0
    best: Trial | None = None
    lost: int = 0
    stopping: bool = False
    unrecorded: str = ""


Watch = Callable[[Standing], None]
