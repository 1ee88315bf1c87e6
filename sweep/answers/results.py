"""What a study has found, read from its folder: the objects that `list` and `show` print."""

import math
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial

from sweep.recording.outbox import Outbox
from sweep.search.storage import RECORD, Storage
from sweep.search.trial import State
from sweep.spec.study import Study, check
from sweep.spec.study_file import load
from sweep.workspace import StudyFolder

TEST = "test"
"""The note that holds every look at the test split."""

CONFUSION = "confusion"
"""The note that holds the winner's confusion matrix on validation rows."""


@dataclass(frozen=True)
class TrialResult:
    """One trial: the contract of `show --json`."""

    number: int
    state: str
    reason: str | None
    params: dict[str, Any]
    value: float | None
    values: list[float | None]
    epoch: int
    seconds: float | None
    mlflow_run_id: str | None
    metrics: dict[str, list[float | None]]
    environment: dict[str, Any]
    diagnosis: list[str]


@dataclass(frozen=True)
class Results:
    """A study and its trials."""

    study: Study
    state: str
    trials: list[TrialResult]
    looks: list[dict[str, Any]]
    experiment: str | None

    @property
    def counts(self) -> dict[str, int]:
        """How many trials there are in each state."""
        states = [trial.state for trial in self.trials]
        return {state.value: states.count(state.value) for state in State}

    def ranked(self) -> list[TrialResult]:
        """The complete trials, best first; equal values in number order."""
        sign = -1 if self.study.maximize else 1
        complete = [
            each for each in self.trials if each.state == "complete" and each.value is not None
        ]
        return sorted(complete, key=lambda each: (sign * (each.value or 0.0), each.number))

    @property
    def best(self) -> TrialResult | None:
        """The winner: the best complete trial by its validation value."""
        return next(iter(self.ranked()), None)

    @property
    def test(self) -> dict[str, Any] | None:
        """The winner's accuracy on the test split; None until it has been looked at."""
        best = self.best
        looks = [look for look in self.looks if best and look["trial"] == best.number]
        return {key: looks[-1][key] for key in ("mean", "sd", "values")} if looks else None

    def summary(self) -> dict[str, Any]:
        """The study's entry in `list --json`."""
        best = self.best
        return {
            "name": self.study.name,
            "state": self.state,
            "question": self.study.question,
            "trials": self.counts,
            "metric": self.study.metric,
            "best": best.number if best else None,
            "value": best.value if best else None,
        }

    def full(self) -> dict[str, Any]:
        """The object of `show --json`."""
        return {
            **self.summary(),
            "trials": [asdict(trial) for trial in self.trials],
            "counts": self.counts,
            "direction": "maximize" if self.study.maximize else "minimize",
            "test": self.test,
            "looks_at_test": self.looks,
            "mlflow_experiment_id": self.experiment,
        }


def read(folder: StudyFolder) -> Results:
    """The results of a study in its folder; safe while a driver is running it."""
    study = check(load(folder.file))
    frozen: list[FrozenTrial] = []
    notes: dict[str, Any] = {}
    with suppress(FileNotFoundError):  # it was stored and never run
        storage = Storage(folder.storage, study.name)
        frozen, notes = storage.trials(), storage.notes()
    runs: dict[int | None, str] = {}
    experiment = None
    if folder.outbox.exists():
        with closing(Outbox(folder.outbox)) as outbox:
            runs, experiment = outbox.run_ids(), outbox.fact("experiment_id")
    driven = folder.in_use()
    trials = [_trial(each, runs.get(each.number), driven=driven) for each in frozen]
    state = "running" if driven else _state(study, trials, frozen)
    return Results(study, state, trials, notes.get(TEST, []), experiment)


def _trial(frozen: FrozenTrial, run: str | None, *, driven: bool) -> TrialResult:
    """A trial; one that has not ended waits if no driver is there to run it."""
    record = frozen.user_attrs.get(RECORD, {})
    running = (State.RUNNING if driven else State.WAITING).value
    steps = frozen.intermediate_values
    return TrialResult(
        number=frozen.number,
        state=record.get("state", running),
        reason=record.get("reason"),
        params=dict(frozen.params),
        value=finite(record.get("value", steps[max(steps)] if steps else None)),
        values=[finite(each) for each in record.get("values", [])],
        epoch=record.get("epoch", max(steps, default=0)),
        seconds=frozen.duration.total_seconds() if frozen.duration else None,
        mlflow_run_id=run,
        metrics={
            name: [finite(each) for each in values]
            for name, values in record.get("metrics", {}).items()
        },
        environment=record.get("environment", {}),
        diagnosis=record.get("diagnosis", []),
    )


def _state(study: Study, trials: Sequence[TrialResult], frozen: Sequence[FrozenTrial]) -> str:
    done = sum(each.state in ("complete", "pruned", "failed") for each in trials)
    if done < study.target and not _spent(study, frozen):
        return "interrupted"
    return "finished" if any(each.state == "complete" for each in trials) else "failed"


def _spent(study: Study, frozen: Sequence[FrozenTrial]) -> bool:
    """Whether every trial has ended and together they have used up `search.worker_seconds`."""
    budget = study.search.worker_seconds
    if budget is None or not all(each.state.is_finished() for each in frozen):
        return False
    spent: float = sum(each.user_attrs[RECORD]["worker_seconds"] for each in frozen)
    return spent >= budget


def finite(value: float | None) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if value is not None and math.isfinite(value) else None
