"""The durable truth about a study's trials: an Optuna storage, in the study's folder or a database.

A trial is a handful of small appends to a journal file, with its parameters in one of them (in
SQLite its life takes 24 ms on the machine this was measured on, in the journal 2). Any tool that
opens Optuna journals, optuna-dashboard for one, can read it. A database that goes away comes back:
the driver waits for it, and what it was writing is written once.
"""

import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from sweep.search.journal import Journal, mend
from sweep.search.lock import POSTGRESQL, Lock
from sweep.search.trial import State, Trial
from sweep.spec.objectives import Direction
from sweep.workspace import WAIT_SECONDS, StorageUnavailable

optuna.logging.set_verbosity(optuna.logging.ERROR)

RECORD = "sweep"
"""The user attribute of a trial that holds what Optuna has no place for."""

WANTED = "sweep.wanted"
"""The user attribute of a trial that names the entry of the queue that it was made of."""

PARENT = "sweep.parent"
"""The user attribute of a trial that names the one from whose state it started."""

CONSTRAINT = "constraints:"
"""How Optuna calls the system attribute of a constraint, before its name."""

IDENTITY = "sweep_id"
"""The note that tells a study from every other of its name."""

STUDY = "study"
"""The note of a study in a database that holds its study file."""

STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
    State.STOPPED: TrialState.FAIL,
}

PAUSE_SECONDS = 0.5

Result = TypeVar("Result")


class Storage:
    """One study in its own journal (a path), or in a database (an SQLAlchemy URL).

    The driver is its only writer; anyone may read. In PostgreSQL its connection holds a lock,
    wherever its workspace is.

    Raises:
        FileNotFoundError: there is no such study (when opened for reading).
        StorageUnavailable: the database does not answer; a driver waits for it first.
        StudyInUse: another driver holds the study.
    """

    def __init__(
        self, place: Path | str, study: str, *, directions: Sequence[Direction] | None = None
    ) -> None:
        """Opens a study; creates it when its directions (`maximize`, `minimize`) are given."""
        self._journal: Journal | None = None
        self._database: RDBStorage | None = None
        self._patience = 0.0 if directions is None else WAIT_SECONDS
        if isinstance(place, Path):
            if directions is None and not place.exists():
                raise FileNotFoundError(place)
            if directions is not None:
                mend(place)
            self._journal = Journal(place)
            self._storage: BaseStorage = JournalStorage(self._journal)
        else:
            # A reader leaves no connection behind; a driver keeps one, and closes it.
            pool = {"poolclass": NullPool} if directions is None else {"pool_pre_ping": True}
            self._database = self._kept(lambda: RDBStorage(place, engine_kwargs=pool))
            self._storage = get_storage(self._database)
            if directions is not None and place.startswith(POSTGRESQL):
                Lock(study).guard(self._database.engine)
        if directions is None:
            try:
                self._study = self._kept(
                    lambda: optuna.load_study(study_name=study, storage=self._storage)
                )
            except KeyError:  # its making was cut off
                raise FileNotFoundError(place) from None
        else:
            self._study = self._kept(
                lambda: optuna.create_study(
                    study_name=study,
                    storage=self._storage,
                    directions=directions,
                    load_if_exists=True,
                )
            )
        self._ids = {trial.number: trial._trial_id for trial in self.trials()}

    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number."""
        return self._kept(lambda: self._study.get_trials(deepcopy=False))

    def start(self, trial: Trial, distributions: Mapping[str, BaseDistribution]) -> None:
        """Puts a trial on record as running, with all its parameters at once."""
        template = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=dt.datetime.now(),
            datetime_complete=None,
            params=dict(trial.params),
            distributions={name: distributions[name] for name in trial.params},
            user_attrs={
                name: value
                for name, value in ((WANTED, trial.wanted), (PARENT, trial.parent))
                if value is not None
            },
            system_attrs={},
            intermediate_values={},
        )

        def create() -> int:
            # An attempt whose answer was lost may have been carried out.
            known = self._storage.get_all_trials(self._study._study_id, deepcopy=False)
            for each in known[trial.number :]:
                if each.params == template.params:
                    return each._trial_id
            return self._storage.create_new_trial(self._study._study_id, template)

        identity = self._kept(
            lambda: self._storage.create_new_trial(self._study._study_id, template), again=create
        )
        number = self._kept(lambda: self._storage.get_trial(identity).number)
        if number != trial.number:
            raise RuntimeError(f"trial {trial.number} was stored as {number}: a second writer?")
        self._ids[trial.number] = identity

    def report(self, number: int, epoch: int, value: float) -> None:
        """Puts a value at a rung on record."""
        self._kept(
            lambda: self._storage.set_trial_intermediate_value(self._ids[number], epoch, value)
        )

    def sync(self) -> None:
        """Waits until what was put on record survives a power cut; a database has seen to that."""
        if self._journal is not None:
            self._journal.sync()

    def end(self, trial: Trial) -> None:
        """Puts the end of a trial on record: its values, its state and its reason."""
        number = self._ids[trial.number]
        values = trial.scores if trial.state is State.COMPLETE else None

        def end() -> None:
            with self._journal.together() if self._journal else nullcontext():
                self._storage.set_trial_user_attr(number, RECORD, trial.record())
                for constraint, excess in trial.excess.items():
                    self._storage.set_trial_system_attr(number, CONSTRAINT + constraint, excess)
                self._storage.set_trial_state_values(number, STATES[trial.state], values)

        def end_unless_ended() -> None:
            try:
                end()
            except UpdateFinishedTrialError:  # the attempt whose answer was lost was carried out
                return

        self._kept(end, again=end_unless_ended)
        self._kept(lambda: self._storage.get_trial(number))  # takes in what was written

    def note(self, name: str, value: Any) -> None:
        """Keeps a JSON value about the study as a whole."""
        self._kept(lambda: self._study.set_user_attr(name, value))

    def notes(self) -> dict[str, Any]:
        """What was noted."""
        return dict(self._kept(lambda: self._study.user_attrs))

    def close(self) -> None:
        """Closes the connections to a database, and lets go of the study."""
        if self._database is not None:
            self._database.engine.dispose()

    def _kept(
        self, action: Callable[[], Result], again: Callable[[], Result] | None = None
    ) -> Result:
        """Does it; when the database does not answer, waits and does it (or `again`) once more."""
        since = time.monotonic()
        attempt, told = action, False
        while True:
            try:
                return attempt()
            except (StorageInternalError, SQLAlchemyError) as error:
                if time.monotonic() - since >= self._patience:
                    # What SQLAlchemy says may hold the address of the database, never a password.
                    raise StorageUnavailable(f"the study storage: {_cause(error)}") from error
                if not told:
                    print(f"waiting for the study storage: {_cause(error)}", file=sys.stderr)
                told, attempt = True, again or action
                time.sleep(PAUSE_SECONDS)


def taken(url: str, study: str) -> bool:
    """Whether a database holds a study of that name."""
    try:
        Storage(url, study)
    except FileNotFoundError:
        return False
    return True


def study_file(url: str, study: str) -> str | None:
    """The text of the study file of a study in PostgreSQL, if there is such a study."""
    if not url.startswith(POSTGRESQL):  # nothing else tells whether a driver is at work on it
        return None
    try:
        storage = Storage(url, study)
    except FileNotFoundError:
        return None
    text: str | None = storage.notes().get(STUDY)
    return text


@contextmanager
def held(url: str, study: str) -> Iterator[None]:
    """Holds a study in PostgreSQL, as its driver does, while it is removed.

    Raises:
        StudyInUse: a driver holds it.
        StorageUnavailable: the database does not answer.
    """
    if not url.startswith(POSTGRESQL):
        yield
        return
    engine = create_engine(url)
    Lock(study).guard(engine)
    try:
        engine.connect().close()  # the pool keeps it
    except SQLAlchemyError as error:
        raise StorageUnavailable(f"the study storage: {_cause(error)}") from error
    try:
        yield
    finally:
        engine.dispose()


def discard(url: str, study: str) -> None:
    """Removes a study from a database, if it is there."""
    try:
        storage = RDBStorage(url, engine_kwargs={"poolclass": NullPool})
        storage.delete_study(storage.get_study_id_from_name(study))
    except KeyError:
        return
    except (StorageInternalError, SQLAlchemyError) as error:
        raise StorageUnavailable(f"the study storage: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
