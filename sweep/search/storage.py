"""The durable truth about a study's trials: an Optuna storage in the study's folder.

A trial costs it a handful of small appends (a journal file takes 0.4 ms each here, SQLite 3 to
11 ms). Any tool that opens Optuna journals, optuna-dashboard for one, can read it.
"""

import datetime as dt
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial, TrialState

from sweep.search.trial import State, Trial

optuna.logging.set_verbosity(optuna.logging.ERROR)

RECORD = "sweep"
"""The user attribute of a trial that holds what Optuna has no place for."""

STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
    State.STOPPED: TrialState.FAIL,
}


class Storage:
    """One study in its own journal. The driver is its only writer; anyone may read.

    Raises:
        FileNotFoundError: there is no such study (when opened for reading).
    """

    def __init__(self, path: Path, study: str, *, maximize: bool | None = None) -> None:
        """Opens a study; creates it when its direction (`maximize`) is given."""
        if maximize is None and not path.exists():
            raise FileNotFoundError(path)
        if maximize is not None:
            _mend(path)
        backend = JournalFileBackend(str(path), lock_obj=_Lock(path.with_suffix(".lock")))
        self._storage = JournalStorage(backend)
        if maximize is None:
            self._study = optuna.load_study(study_name=study, storage=self._storage)
        else:
            self._study = optuna.create_study(
                study_name=study,
                storage=self._storage,
                direction="maximize" if maximize else "minimize",
                load_if_exists=True,
            )
        self._ids = {trial.number: trial._trial_id for trial in self.trials()}

    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number."""
        return self._study.get_trials(deepcopy=False)

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
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        identity = self._storage.create_new_trial(self._study._study_id, template)
        number = self._storage.get_trial(identity).number
        if number != trial.number:
            raise RuntimeError(f"trial {trial.number} was stored as {number}: a second writer?")
        self._ids[trial.number] = identity

    def report(self, number: int, epoch: int, value: float) -> None:
        """Puts a value at a rung on record."""
        self._storage.set_trial_intermediate_value(self._ids[number], epoch, value)

    def end(self, trial: Trial) -> None:
        """Puts the end of a trial on record: its values, its state and its reason."""
        number = self._ids[trial.number]
        self._storage.set_trial_user_attr(number, RECORD, trial.record())
        values = None if trial.state is not State.COMPLETE else [trial.value]
        self._storage.set_trial_state_values(number, STATES[trial.state], values)

    def settle(self, trial: FrozenTrial, reason: str) -> None:
        """Ends a trial that another driver left running."""
        record = {"state": State.STOPPED.value, "reason": reason}
        self._storage.set_trial_user_attr(trial._trial_id, RECORD, record)
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL, None)

    def note(self, name: str, value: Any) -> None:
        """Keeps a JSON value about the study as a whole."""
        self._study.set_user_attr(name, value)

    def notes(self) -> dict[str, Any]:
        """What was noted."""
        return dict(self._study.user_attrs)


class _Lock(BaseJournalFileLock):
    """A lock that the kernel drops when its holder dies, unlike Optuna's own lock files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        assert self._descriptor is not None
        os.close(self._descriptor)
        self._descriptor = None


def _mend(path: Path) -> None:
    """Cuts off a last line that a killed driver left unfinished."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        lines = file.read().splitlines(keepends=True)
        if lines and not (lines[-1].endswith(b"\n") and _is_json(lines[-1])):
            file.truncate(sum(map(len, lines[:-1])))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
