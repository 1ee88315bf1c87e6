"""What trials are judged by: objectives, the first of which leads, and constraints.

A constraint is untrusted text; it is compared with the one form it may have, never evaluated.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainer.rules import Choice, Optional, Problem, join, nearest, section, setting

Direction = Literal["maximize", "minimize"]

METRICS: Mapping[str, Direction] = {
    "val_accuracy": "maximize",
    "val_r2": "maximize",
    "val_loss": "minimize",
    "train_accuracy": "maximize",
    "train_r2": "maximize",
    "train_loss": "minimize",
    "parameters": "minimize",
    "predict_seconds": "minimize",
    "folded_predict_seconds": "minimize",
    "epoch_seconds": "minimize",
}
"""What may be an objective, and its natural direction."""

FORM = re.compile(r"\s*(\w+)\s*(<=|>=)\s*(\S+)\s*")


@section
class Objective:
    """What a trial is judged by (`objective`, or an entry of it)."""

    metric: Any = setting(
        "val_accuracy",
        Choice({name: {} for name in METRICS}),
        "mean over replicates at the end",
    )
    direction: Any = setting(
        None,
        Optional(Choice({"maximize": {}, "minimize": {}})),
        "by default the metric's natural one",
    )

    @property
    def name(self) -> str:
        """The metric."""
        return str(self.metric.name)

    @property
    def wanted(self) -> Direction:
        """The direction that is better."""
        return self.direction.name if self.direction else METRICS[self.name]

    @property
    def maximize(self) -> bool:
        """Whether larger values are better."""
        return self.wanted == "maximize"


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric (its mean over replicates) that a trial must keep to be of use."""

    metric: str
    most: bool
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.most else '>='} {self.bound:.12g}"

    def excess(self, value: float) -> float:
        """How far a value lies beyond the bound; 0 or less for one that keeps it."""
        return value - self.bound if self.most else self.bound - value

    def broken(self, value: float) -> str:
        """In words, how a value breaks the bound."""
        return f"{self.metric} {value:.12g} {'>' if self.most else '<'} {self.bound:.12g}"


def excesses(
    constraints: Sequence[Constraint], metrics: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """How far a trial is beyond each bound, of those metrics that are known and finite."""
    found = {}
    for each in constraints:
        values = metrics.get(each.metric, ())
        if values and math.isfinite(mean := sum(values) / len(values)):
            found[str(each)] = each.excess(mean)
    return found


def read_constraints(given: Sequence[str], problems: list[Problem]) -> tuple[Constraint, ...]:
    """The constraints of a study; every mistake is appended to `problems`."""
    found = []
    for index, text in enumerate(given):
        path = join("constraints", index)
        match = FORM.fullmatch(text)
        bound = _number(match[3]) if match else None
        if match is None or bound is None:
            problems.append(Problem(path, "must read METRIC <= NUMBER or METRIC >= NUMBER", text))
        elif match[1] not in METRICS:
            hint = nearest(match[1], METRICS) or f"; known here: {', '.join(METRICS)}"
            problems.append(Problem(path, f"names no metric{hint}", match[1]))
        else:
            found.append(Constraint(match[1], match[2] == "<=", bound))
    return tuple(found)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
