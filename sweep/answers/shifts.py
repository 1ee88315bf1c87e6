"""Variance shift: what batch norm meets in prediction over what it met in training, measured.

Beside it stands what the formula gives for dropout right before a batch norm (`trainer.health`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep.answers.results import Results, TrialResult
from sweep.recording.outbox import Outbox
from sweep.recording.records import Epochs
from sweep.spec.claims import shown

MEASURED, FORMULA = "health/variance_ratio_", "health/variance_ratio_formula_"

SHOWN = 24
"""How many trials are in the table."""


@dataclass(frozen=True)
class Shift:
    """A complete trial, with the ratios of its batch norms, the lowest first: (L,) each.

    They are those of its last epoch, in the mean over replicates.
    """

    trial: TrialResult
    measured: tuple[float, ...]
    formula: tuple[float, ...]


def shifts(results: Results, outbox: Path) -> tuple[Shift, ...]:
    """Those trials in which units drop right before a batch norm, by their numbers."""
    if "before_bn" not in results.study.text:
        return ()
    with closing(Outbox(outbox, reading=True)) as records:
        complete = [each for each in results.trials if each.state == "complete"]
        return tuple(each for trial in complete for each in _shift(records, trial))


def _shift(records: Outbox, trial: TrialResult) -> Iterator[Shift]:
    links = [each.history for each in records.records(trial.number) if isinstance(each, Epochs)]
    if not links:
        return
    figures = {name: each for name, each in links[-1].items() if name.startswith(MEASURED)}
    last = {name: _mean(np.asarray(each, np.float64)[-1]) for name, each in figures.items()}
    layers = range(1, 1 + sum(name.startswith(FORMULA) for name in last))
    measured, formula = (
        tuple(last[f"{prefix}{layer}"] for layer in layers) for prefix in (MEASURED, FORMULA)
    )
    if layers:
        yield Shift(trial, measured, formula)


def _number(ratio: float) -> str:
    return "–" if math.isnan(ratio) else f"{ratio:.2f}"


def _mean(values: NDArray[np.float64]) -> float:
    """Of what is known, of one epoch's values (R,)."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def table(found: Sequence[Shift], titles: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """The head and the body of a table, a row a trial; fields have titles."""
    found = found[:SHOWN]
    fields = list(dict.fromkeys(name for each in found for name in each.trial.params))
    fields = [name for name in fields if len({_of(each, name) for each in found}) > 1]
    depth = max(len(each.measured) for each in found)
    layers = (f"layer {layer}" for layer in range(1, depth + 1))
    head = ["trial", *(titles[name] for name in fields), *layers]
    return head, [
        [f"#{each.trial.number}", *(_of(each, name) for name in fields), *_cells(each, depth)]
        for each in found
    ]


def _of(shift: Shift, name: str) -> str:
    return shown(shift.trial.params[name]) if name in shift.trial.params else "–"


def _cells(shift: Shift, depth: int) -> list[str]:
    pairs = zip(shift.measured, shift.formula, strict=True)
    cells = [" / ".join(map(_number, pair)) for pair in pairs]
    return cells + ["–"] * (depth - len(cells))
