"""What a study has found, read from its folder: the objects that `list` and `show` print."""

import math
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from operator import itemgetter, le
from typing import Any

from optuna.trial import FrozenTrial

from sweep.recording.outbox import NOTHING, Backlog, Outbox
from sweep.search.storage import PARENT, RECORD, Storage
from sweep.search.trial import State
from sweep.spec.study import Study, check
from sweep.spec.study_file import load
from sweep.workspace import StudyFolder

TEST = "test"
"""The note that holds every look at the test split."""


@dataclass(frozen=True)
class TrialResult:
    """One trial: the contract of `show --json`.

    `parent` is the trial from whose state it started, if there is one (population-based training),
    `value` and `values` are those of the leading objective, `scores` the means of all of them;
    `violated` names the constraints that it breaks; `worker_seconds` is what it took of workers,
    pretraining and all; `timings` are its seconds by what they went into.
    """

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
    scores: list[float | None]
    violated: list[str]
    parent: int | None = None
    worker_seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """A study and its trials."""

    study: Study
    state: str
    trials: list[TrialResult]
    looks: list[dict[str, Any]]
    experiment: str | None
    backlog: Backlog = NOTHING

    @property
    def counts(self) -> dict[str, int]:
        """How many trials there are in each state."""
        states = [trial.state for trial in self.trials]
        return {state.value: states.count(state.value) for state in State}

    def ranked(self) -> list[TrialResult]:
        """The complete trials that keep the constraints, best first by the leading objective.

        Equal ones are in the order of the other objectives, then of their numbers.
        """
        found = []
        for each in self.trials:
            scores = [score for score in each.scores if score is not None]
            if each.state == "complete" and len(scores) == len(self.study.objectives):
                found.append((self.study.order(scores, each.number), each))
        return [each for _, each in sorted(found, key=itemgetter(0)) if not each.violated]

    def front(self) -> list[TrialResult]:
        """The Pareto front: the ranked trials than which no other is better all round."""
        front: list[TrialResult] = []
        for each in self.ranked():  # whoever dominates a trial comes before it
            scores = [score or 0.0 for score in each.scores]
            mine = self.study.order(scores, 0)
            others = (self.study.order([s or 0.0 for s in one.scores], 0) for one in front)
            if not any(all(map(le, other, mine)) and other != mine for other in others):
                front.append(each)
        return front

    @property
    def best(self) -> TrialResult | None:
        """The winner: the first of the ranked trials."""
        return next(iter(self.ranked()), None)

    @property
    def test(self) -> dict[str, Any] | None:
        """The winner's accuracy, or R², on the test split; None until it has been looked at."""
        best = self.best
        looks = [look for look in self.looks if best and look["trial"] == best.number]
        return {key: looks[-1][key] for key in ("mean", "sd", "values")} if looks else None

    def summary(self) -> dict[str, Any]:
        """The study's entry in `list --json`."""
        best = self.best
        found: dict[str, Any] = {
            "best": best.number if best else None,
            "value": best.value if best else None,
        }
        if self._several:
            front = self.front()
            found = {
                "best": [each.number for each in front],
                "value": [each.scores for each in front],
                "metrics": [each.name for each in self.study.objectives],
            }
        return {
            "name": self.study.name,
            "state": self.state,
            "question": self.study.question,
            "trials": self.counts,
            "metric": self.study.metric,
            "unrecorded": self.backlog._asdict(),
            **found,
        }

    @property
    def _several(self) -> bool:
        return len(self.study.objectives) > 1

    def full(self) -> dict[str, Any]:
        """The object of `show --json`."""
        return {
            **self.summary(),
            "trials": [self._entry(trial) for trial in self.trials],
            "counts": self.counts,
            "direction": list(self.study.directions) if self._several else self.study.directions[0],
            "test": self.test,
            "looks_at_test": self.looks,
            "mlflow_experiment_id": self.experiment,
        }

    def _entry(self, trial: TrialResult) -> dict[str, Any]:
        """A trial as `show --json` prints it."""
        entry = asdict(trial)
        scores = entry.pop("scores")
        return entry | ({"value": scores or None} if self._several else {})


def read(folder: StudyFolder) -> Results:
    """The results of a study in its folder; safe while a driver is running it."""
    study = check(load(folder.file))
    frozen: list[FrozenTrial] = []
    notes: dict[str, Any] = {}
    with suppress(FileNotFoundError):  # it was stored and never run
        storage = Storage(folder.storage, study.name)
        frozen, notes = storage.trials(), storage.notes()
    with closing(Outbox(folder.outbox, reading=True)) as outbox:
        runs, experiment = outbox.run_ids(), outbox.fact("experiment_id")
        backlog = outbox.backlog()
    driven = folder.in_use()
    trials = [_trial(each, runs.get(each.number), driven=driven) for each in frozen]
    state = "running" if driven else _state(study, trials, frozen)
    return Results(study, state, trials, notes.get(TEST, []), experiment, backlog)


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
        parent=frozen.user_attrs.get(PARENT),
        scores=[finite(each) for each in frozen.values or ()],
        violated=[name for name, excess in frozen.constraints.items() if excess > 0],
        worker_seconds=record.get("worker_seconds", 0.0),
        timings=record.get("timings", {}),
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
