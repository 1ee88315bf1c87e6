"""What the trials of a study say, made comparable: the data behind the pictures of a report.

Trials that were pruned have seen fewer epochs than those that were not, so their last values can't
be put side by side. Whatever compares settings (importances, slices, surfaces, interactions) reads
the values at one *common budget*: the largest number of epochs after which at least four fifths of
the trials have a value. A trial that had completed by then counts with its final value.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sweep.answers.claims import findings
from sweep.answers.comparisons import Comparison, comparisons
from sweep.answers.results import Results, finite, read
from sweep.answers.shifts import Shift, shifts
from sweep.answers.validation import of_winner
from sweep.recording.records import Validation
from sweep.search.storage import Storage
from sweep.spec import space
from sweep.spec.claims import shown
from sweep.workspace import StudyFolder

MOST = 0.8
"""The share of the trials that must have a value at the common budget."""


@dataclass(frozen=True)
class Trial:
    """A trial with its values at rungs; `common` is that at the common budget."""

    number: int
    state: str
    params: dict[str, Any]
    value: float | None
    sd: float | None
    epoch: int
    rungs: dict[int, float]
    common: float | None = None


@dataclass(frozen=True)
class Axis:
    """A parameter as an axis: categories by their labels, or numbers."""

    name: str
    title: str
    log: bool
    labels: tuple[str, ...] | None

    def place(self, value: Any) -> float:
        """Where a value lies: the index of a category, a number itself."""
        return self.labels.index(_label(value)) if self.labels else float(value)


@dataclass(frozen=True)
class Evidence:
    """The trials of a study, the axes they can be drawn on, what the winner says of rows."""

    results: Results
    trials: tuple[Trial, ...]
    axes: tuple[Axis, ...]
    budget: int
    validation: Validation | None
    comparisons: tuple[Comparison, ...] = ()
    shifts: tuple[Shift, ...] = ()

    @property
    def compared(self) -> list[Trial]:
        """The trials that have a value at the common budget."""
        return [each for each in self.trials if each.common is not None]

    @property
    def basis(self) -> str:
        """What values are compared, in words."""
        epochs = f"{self.budget} epoch{'s' * (self.budget != 1)}"
        metric = self.results.study.metric
        return f"{metric} after {epochs}: {len(self.compared)} of {len(self.trials)} trials"


def evidence(folder: StudyFolder) -> Evidence:
    """Reads a study from its folder."""
    results = read(folder)
    rungs: dict[int, dict[int, float]] = {}
    notes: dict[str, Any] = {}
    with suppress(FileNotFoundError):  # it was stored and never run
        storage = Storage(folder.storage, results.study.name)
        notes = storage.notes()
        rungs = {each.number: dict(each.intermediate_values) for each in storage.trials()}
    trials = [
        Trial(
            each.number,
            each.state,
            each.params,
            each.value,
            _sd(each.values),
            each.epoch,
            {
                epoch: value
                for epoch, value in rungs.get(each.number, {}).items()
                if finite(value) is not None
            },
        )
        for each in results.trials
    ]
    budget = _common_budget(trials)
    compared = tuple(Trial(**(vars(each) | {"common": _value_at(each, budget)})) for each in trials)
    return Evidence(
        results,
        compared,
        tuple(_axes(results)),
        budget,
        of_winner(notes),
        comparisons(results, folder.outbox, findings(results)),
        shifts(results, folder.outbox),
    )


def _value_at(trial: Trial, budget: int) -> float | None:
    if budget in trial.rungs:
        return trial.rungs[budget]
    done = trial.state == "complete" and trial.epoch <= budget
    return trial.value if done else None


def _common_budget(trials: Sequence[Trial]) -> int:
    budgets = sorted({e for each in trials for e in (*each.rungs, each.epoch) if e}, reverse=True)
    tried = [each for each in trials if each.rungs or each.value is not None]
    for budget in budgets:
        if sum(_value_at(each, budget) is not None for each in tried) >= MOST * len(tried):
            return budget
    return budgets[0] if budgets else 0


def _axes(results: Results) -> list[Axis]:
    names = [each.name for each in results.study.parameters()]
    axes = []
    for parameter in results.study.parameters():
        title = short(parameter.name, names)
        if isinstance(parameter, space.Choose):
            axes.append(Axis(parameter.name, title, False, tuple(map(_label, parameter.labels))))
        else:
            axes.append(Axis(parameter.name, title, parameter.log, None))
    return axes


def short(name: str, names: Sequence[str]) -> str:
    """The end of a dotted name, as long as it must be to differ from those of the others."""
    parts = name.split(".")
    for count in range(1, len(parts)):
        end = ".".join(parts[-count:])
        if sum(f".{other}".endswith(f".{end}") for other in names) == 1:
            return end
    return name


def elided(text: str, longest: int) -> str:
    """A text without some of its middle if it is long: mappings differ at their ends."""
    if len(text) <= longest:
        return text
    head = longest // 4
    return f"{text[:head]}…{text[head + 1 - longest :]}"


def _label(value: Any) -> str:
    return shown(value)


def _sd(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    if len(known) < 2:
        return None
    mean = sum(known) / len(known)
    return float((sum((each - mean) ** 2 for each in known) / (len(known) - 1)) ** 0.5)
