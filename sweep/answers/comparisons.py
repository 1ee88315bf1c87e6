"""Learning curves of the groups that claims compare.

A group is all complete trials with one of a claim's two options and with what its `where` holds;
where the claim takes an option at its best value of a field, those with a value that was chosen.
Its curve in one replicate is the mean over its trials; a replicate that stopped early keeps its
last value, and a curve ends where the shortest of its trials ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep.answers.claims import Finding
from sweep.answers.results import Results, TrialResult
from sweep.recording.outbox import Outbox
from sweep.recording.projection import mean_and_sd
from sweep.recording.records import Epochs
from sweep.spec.claims import Claim, shown, told
from sweep.spec.space import Scalar

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """The trials of one option.

    Attributes:
        label: the option.
        trials: how many there are.
        mean: (E,) after each epoch, over trials and replicates.
        sd: (E,) over the replicates; NaN where there is but one.
    """

    label: str
    trials: int
    mean: Floats
    sd: Floats


@dataclass(frozen=True)
class Comparison:
    """The two groups of a claim, in the order in which it names them."""

    claim: Claim
    groups: tuple[Group, Group]


def comparisons(results: Results, outbox: Path, found: Sequence[Finding]) -> tuple[Comparison, ...]:
    """Those of the claims that go by what every epoch measures and have trials on both sides.

    Args:
        results: the study and its trials.
        outbox: the file in which the values of their epochs are.
        found: what was found about its claims, in their order.
    """
    claims = results.study.claims
    if not claims:
        return ()
    with closing(Outbox(outbox, reading=True)) as records:
        wanted = {claim.by for claim in claims}
        histories = {
            trial.number: history
            for trial in results.trials
            if trial.state == "complete" and any(_belongs(trial, each) for each in claims)
            for history in [_history(records, trial.number, wanted)]
        }
    return tuple(_compared(results, histories, found))


Histories = Mapping[int, Mapping[str, Floats]]
"""By trial and metric, (E, R)."""


def _history(outbox: Outbox, trial: int, wanted: set[str]) -> dict[str, Floats]:
    """The metrics that are wanted, (E, R) each, without gaps."""
    links = [each.history for each in outbox.records(trial) if isinstance(each, Epochs)]
    found = {}
    for name in wanted:
        parts = [np.asarray(each[name], dtype=np.float64) for each in links if name in each]
        if parts:
            found[name] = _carried(np.concatenate(parts))
    return found


def _carried(values: Floats) -> Floats:
    """(E, R) with each NaN in the place of the last value before it."""
    there = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(there, np.arange(len(values))[:, None], 0), axis=0)
    return np.take_along_axis(values, last, axis=0)


def _compared(
    results: Results, histories: Histories, found: Sequence[Finding]
) -> Iterator[Comparison]:
    for claim, finding in zip(results.study.claims, found, strict=True):
        first, second = (
            _group(results, histories, claim, option, chosen)
            for option, chosen in enumerate(finding.chosen or (None, None))
        )
        if first is not None and second is not None:
            yield Comparison(claim, (first, second))


def _group(
    results: Results,
    histories: Histories,
    claim: Claim,
    option: int,
    chosen: tuple[Scalar, ...] | None,
) -> Group | None:
    mine = [
        each
        for each in results.trials
        if claim.by in histories.get(each.number, ())
        and _belongs(each, claim)
        and claim.side(each.params) == option
        and (chosen is None or each.params.get(claim.best_over or "") in chosen)
    ]
    if not mine:
        return None
    found = {each.number: histories[each.number][claim.by] for each in mine}
    epochs = min(map(len, found.values()))
    looks: dict[int, list[Floats]] = {}
    for number, values in found.items():
        looks.setdefault(results.study.look_of(number), []).append(values[:epochs])
    blocks = np.concatenate([np.mean(each, axis=0) for each in looks.values()], axis=1)
    mean, sd = mean_and_sd(blocks)
    at = f" at {' or '.join(map(shown, chosen))}" if chosen else ""
    return Group(f"{told(claim.options[option])}{at}", len(mine), mean, sd)


def _belongs(trial: TrialResult, claim: Claim) -> bool:
    """Whether a trial is of a group of a claim."""
    return claim.side(trial.params) is not None and claim.holds(trial.params)
