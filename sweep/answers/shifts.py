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
    """A complete trial, with the ratios of its batch norms: as measured, and by the formula.

    They go by the layer's number (frozen ones have none), and are those of the last epoch, in the
    mean over replicates.
    """

    trial: TrialResult
    ratios: Mapping[int, tuple[float, float]]


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
    layers = sorted(int(name.removeprefix(FORMULA)) for name in last if name.startswith(FORMULA))
    if layers:
        ratios = {each: (last[f"{MEASURED}{each}"], last[f"{FORMULA}{each}"]) for each in layers}
        yield Shift(trial, ratios)


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
    layers = sorted({layer for each in found for layer in each.ratios})
    head = ["trial", *(titles[name] for name in fields), *(f"layer {each}" for each in layers)]
    return head, [
        [
            f"#{each.trial.number}",
            *(_of(each, name) for name in fields),
            *(_ratios(each, layer) for layer in layers),
        ]
        for each in found
    ]


def _of(shift: Shift, name: str) -> str:
    return shown(shift.trial.params[name]) if name in shift.trial.params else "–"


def _ratios(shift: Shift, layer: int) -> str:
    return " / ".join(map(_number, shift.ratios[layer])) if layer in shift.ratios else "–"
