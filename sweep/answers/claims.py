"""What the trials of a study say about its claims.

A claim compares two options of one field over *matched configurations*: those that are equal in
every other field. A parameter that exists for one option only is a part of that option, so a side
is the mean over its values. The effect of a claim in one replicate is the mean over the matched
configurations of the difference between the sides; the replicates are the blocks.

A verdict needs every matched configuration of the design, with all its replicates: whatever took
trials away (an adaptive sampler that went elsewhere, a pruner, a divergence) has done so by their
results, and the mean over those left would be another quantity.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sweep.answers import intervals
from sweep.answers.intervals import ERROR, LEAST, SPENT, Verdict
from sweep.answers.results import Results, TrialResult
from sweep.spec import space
from sweep.spec.claims import Claim
from sweep.spec.contradictions import MOST_POINTS
from sweep.spec.study import Study

ADAPTIVE = ("tpe", "cmaes", "gp", "pbt")
"""Samplers that look at results when they choose, and so skew what is compared."""

TIMES = ("predict_seconds", "epoch_seconds")
"""Metrics of which replicates are no independent measurements: they are trained together."""

Params = Mapping[str, space.Scalar]
Array = intervals.Floats
Side = list[frozenset[tuple[str, space.Scalar]]]


@dataclass(frozen=True)
class Finding:
    """What was found about one claim: an entry of `claims` in `report --json`.

    Attributes:
        name: the claim's.
        claim: the claim in one line.
        difference: what the effect is.
        effect: the mean over replicates, in the metric's unit; None where there is no verdict to
            give.
        low: the lower end of its interval, None likewise or with one replicate.
        high: the upper end.
        confidence: of the interval alone; those of all claims and looks hold together at
            1 - `ERROR`.
        pairs: how many matched configurations have results on both sides.
        replicates: how many blocks the effect is a mean over.
        look: at which look it was judged, from 1.
        margin: the smallest effect of interest.
        verdict: supported, refuted or undecided.
        reason: why it is undecided.
        more_replicates: how many more would decide it, if effect and deviation stay as they are.
        covers: what the interval generalises to.
    """

    name: str
    claim: str
    difference: str
    effect: float | None
    low: float | None
    high: float | None
    confidence: float
    pairs: int
    replicates: int
    look: int
    margin: float
    verdict: Verdict
    reason: str | None
    more_replicates: int | None
    covers: str

    @property
    def open(self) -> bool:
        """Whether more replicates could decide it."""
        return self.verdict == "undecided" and self.effect is not None

    def as_json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return asdict(self)


def findings(results: Results) -> list[Finding]:
    """What the results say about every claim of their study, in its order."""
    study = results.study
    if not study.claims:
        return []
    listed = all(each.points() is not None for each in study.parameters())
    cells = []
    if listed and space.count(study.template) <= MOST_POINTS:
        cells = list(space.cells(study.template))
    return [_finding(results, claim, _matched(cells, claim)) for claim in study.claims]


def _finding(results: Results, claim: Claim, matched: Sequence[tuple[Side, Side]]) -> Finding:
    """Judges a claim at one look after the other; the first verdict stands."""
    study = results.study
    blocks: list[Array] = []
    for look in range(study.search.looks):
        trained = {
            frozenset(each.params.items()): each
            for each in results.trials
            if study.look_of(each.number) == look
        }
        found = [
            (first, second)
            for pair in matched
            if (first := _mean(study, claim.by, pair[0], trained)) is not None
            and (second := _mean(study, claim.by, pair[1], trained)) is not None
        ]
        why = _unfit(study, claim, matched, trained, len(found))
        if why is not None and look:
            break  # the look is not over
        if why is None:
            blocks.append(np.mean([first - second for first, second in found], axis=0))
        at = np.concatenate(blocks) if blocks else None
        judged = _judged(study, claim, look, at, why, len(found))
        if judged.verdict != "undecided" or at is None:
            break
    return judged


def _judged(
    study: Study, claim: Claim, look: int, blocks: Array | None, why: str | None, pairs: int
) -> Finding:
    """What the block means (R,) of a look say; without any, `why` there are none."""
    spent = [ERROR * share / len(study.claims) for share in SPENT]
    folds = study.data.folds
    effect = low = high = more = None
    said: Verdict = "undecided"
    if blocks is not None:
        effect = float(blocks.mean())
        if len(blocks) > 1:
            overlap = 1 / (folds - 1) if folds else 0.0
            at = intervals.interval(blocks, error=spent[look], overlap=overlap)
            low, high = float(at.low), float(at.high)
            said = _oriented(claim, low, high)
        if len(blocks) < LEAST:
            said, why = "undecided", f"a verdict takes at least {LEAST} replicates"
        elif said == "undecided":
            why = f"the interval reaches across {_threshold(claim):g}"
        if said == "undecided" and folds is None:
            following = spent[min(look + 1, len(spent) - 1)]
            more = intervals.more_replicates(blocks, _threshold(claim), error=following)
    return Finding(
        name=claim.name,
        claim=str(claim),
        difference=f"{claim.by}: {claim.difference}",
        effect=effect,
        low=low,
        high=high,
        confidence=1 - spent[look],
        pairs=pairs,
        replicates=study.replicates * 2**look,
        look=look + 1,
        margin=claim.margin,
        verdict=said,
        reason=why,
        more_replicates=more,
        covers=f"seeds and splits ({folds} folds)" if folds else "seeds on this split",
    )


def _threshold(claim: Claim) -> float:
    """The effect that the claim must lie beyond."""
    return claim.margin if claim.larger else -claim.margin


def _oriented(claim: Claim, low: float, high: float) -> Verdict:
    """The verdict on a claim, whichever way it points."""
    if claim.larger:
        return intervals.verdict(low, high, claim.margin)
    return intervals.verdict(-high, -low, claim.margin)


def _matched(cells: Iterable[dict[str, space.Scalar]], claim: Claim) -> list[tuple[Side, Side]]:
    """The matched configurations of a claim, each with the cells of its two sides."""
    sides: dict[frozenset[tuple[str, space.Scalar]], tuple[Side, Side]] = {}
    for cell in cells:
        held = all(name in cell and cell[name] == value for name, value in claim.where.items())
        if held and cell.get(claim.field, cell) in claim.options:
            others = space.without(cell, [claim.field])
            pair = sides.setdefault(frozenset(others.items()), ([], []))
            pair[claim.options.index(cell[claim.field])].append(frozenset(cell.items()))
    return [pair for pair in sides.values() if all(pair)]


def _mean(
    study: Study, metric: str, side: Side, trained: Mapping[Any, TrialResult]
) -> Array | None:
    """The metric's values (R,), a mean over the cells of a side; None if one has no result."""
    values = [_values(study, metric, trained.get(cell)) for cell in side]
    known = [np.asarray(each) for each in values if each is not None]
    return np.mean(known, axis=0) if len(known) == len(side) else None


def _values(study: Study, metric: str, trial: TrialResult | None) -> list[float] | None:
    if trial is None or trial.state != "complete":
        return None
    values = trial.metrics.get(metric, [])
    known = [each for each in values if each is not None]
    return known if len(known) == len(study.replicates_of(trial.number)) else None


def _unfit(
    study: Study,
    claim: Claim,
    matched: Sequence[tuple[Side, Side]],
    trained: Mapping[Any, TrialResult],
    found: int,
) -> str | None:
    """Why the trials allow no verdict, if they don't."""
    sampler = study.search.sampler.name
    if sampler in ADAPTIVE:
        return f"the sampler {sampler} chose trials by their results, which skews a comparison"
    if claim.by in TIMES:
        return f"{claim.by} is measured for all replicates together, so they are no blocks"
    endless = [each.name for each in study.parameters() if each.points() is None]
    if endless:
        return f"{endless[0]} has endless values, so configurations are not matched"
    if not matched:
        return "the design has no configurations that differ in this field alone"
    if found == len(matched):
        return None
    cells = [cell for pair in matched for side in pair for cell in side]
    trials = [trained[cell] for cell in cells if cell in trained]
    short = [each for each in trials if _values(study, claim.by, each) is None]
    ended = [each for each in short if each.state not in ("running", "waiting")]
    text = f"only {found} of {len(matched)} matched configurations have all their results"
    if not ended:
        return f"{text}; {len(cells) - len(trials) + len(short)} trials are yet to be trained"
    state = ended[0].reason or f"no finite {claim.by} in every replicate"
    return f"{text}; trial {ended[0].number} is {ended[0].state}: {state}"
