"""The durable truth about a study's trials: an Optuna storage in the study's folder.

A trial is a handful of small appends to a journal file, with its parameters in one of them (in
SQLite its life takes 24 ms on the machine this was measured on, in the journal 2). Any tool that
opens Optuna journals, optuna-dashboard for one, can read it.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from sweep.search.journal import Journal, mend
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
            mend(path)
        self._journal = Journal(path)
        self._storage = JournalStorage(self._journal)
        if maximize is None:
            try:
                self._study = optuna.load_study(study_name=study, storage=self._storage)
            except KeyError:  # its making was cut off
                raise FileNotFoundError(path) from None
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
        values = [trial.value] if trial.state is State.COMPLETE else None
        with self._journal.together():
            self._storage.set_trial_user_attr(number, RECORD, trial.record())
            self._storage.set_trial_state_values(number, STATES[trial.state], values)
        self._storage.get_trial(number)  # takes in what was written

    def note(self, name: str, value: Any) -> None:
        """Keeps a JSON value about the study as a whole."""
        self._study.set_user_attr(name, value)

    def notes(self) -> dict[str, Any]:
        """What was noted."""
        return dict(self._study.user_attrs)
