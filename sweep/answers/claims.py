"""What the trials of a study say about its claims.

A claim compares two options of one field over matched configurations (`sweep.answers.matching`). A
side is the mean over its cells. The effect of a claim in one replicate is the mean over the matched
configurations of the difference between the sides; the replicates are the blocks.

With `best_over` each side is taken at its own best value of that field. Some replicates choose that
value, and the others judge: what won among several was lucky in the replicates that chose it, and
only there. So the intervals hold for the options at the values chosen, which the report names.
Replicates that later looks add all judge.

A verdict needs every matched configuration of the design, with all its replicates: whatever took
trials away (an adaptive sampler that went elsewhere, a pruner) has done so by their results, and
the mean over those left would be another quantity. That a trial diverged is a result, see
`sweep.answers.outcomes`; where it leaves open what a replicate came to, the interval covers the
effect whatever that was.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sweep.answers import intervals
from sweep.answers.intervals import ERROR, LEAST, SPENT, Verdict
from sweep.answers.look import Choice, Look
from sweep.answers.matching import pairs
from sweep.answers.results import Results
from sweep.spec import space
from sweep.spec.claims import Claim

CHOOSING = 3
"""With `best_over` one in so many replicates of the first look chooses."""

Chosen = tuple[tuple[space.Scalar, ...], tuple[space.Scalar, ...]]


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
        chosen: with `best_over`, the values chosen for either option.
        diverged: how many of the trials compared diverged.
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
    chosen: Chosen | None
    diverged: int
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
    return [_finding(results, claim) for claim in results.study.claims]


def _finding(results: Results, claim: Claim) -> Finding:
    """Judges a claim at one look after the other; the first verdict stands."""
    study = results.study
    matched = pairs(study, claim)
    choosing = 0 if claim.best_over is None else max(1, study.replicates // CHOOSING)
    choices: list[Choice] = []
    blocks: list[intervals.Floats] = []
    for number in range(study.search.looks):
        trained = {
            frozenset(each.params.items()): each
            for each in results.trials
            if study.look_of(each.number) == number
        }
        look = Look(study, claim, matched, trained)
        why = look.unfit()
        if why is not None and number:
            break  # the look is not over
        if why is None:
            choices = choices or look.choices(choosing)
            blocks.append(look.differences(choices)[:, 0 if number else choosing :])
        chosen = _distinct(choices) if choosing and choices else None
        judged = _judged(look, number, blocks, why, chosen)
        if judged.verdict != "undecided" or not blocks:
            break
    return judged


def _judged(
    look: Look,
    number: int,
    blocks: Sequence[intervals.Floats],
    why: str | None,
    chosen: Chosen | None,
) -> Finding:
    """What all looks so far say; `why` says why they say nothing, if there are no blocks.

    Args:
        blocks: of each look the least and the most that the effect can be in each block, (2, R).
    """
    study, claim = look.study, look.claim
    spent = [ERROR * share / len(study.claims) for share in SPENT]
    folds = study.data.folds
    effect = low = high = more = None
    said: Verdict = "undecided"
    least, most = both = np.concatenate(blocks or [np.empty((2, 0))], axis=1)
    if blocks:
        effect = float(both.mean()) if len(least) else None
        if len(least) > 1:
            overlap = 1 / (folds - 1) if folds else 0.0
            ends = intervals.interval(both, error=spent[number], overlap=overlap)
            low, high = float(ends.low[0]), float(ends.high[1])
            said = _oriented(claim, low, high)
        if len(least) < LEAST:
            said, why = "undecided", f"a verdict takes at least {LEAST} replicates"
        elif said == "undecided":
            why = f"the interval reaches across {_threshold(claim):g}"
        if said == "undecided" and folds is None and (least == most).all():
            following = spent[min(number + 1, len(spent) - 1)]
            more = intervals.more_replicates(least, _threshold(claim), error=following)
    return Finding(
        name=claim.name,
        claim=str(claim),
        difference=f"{claim.by}: {claim.difference}",
        effect=effect,
        low=low,
        high=high,
        confidence=1 - spent[number],
        pairs=look.found,
        replicates=len(least) if blocks else study.replicates,
        chosen=chosen,
        diverged=look.diverged,
        look=number + 1,
        margin=claim.margin,
        verdict=said,
        reason=why,
        more_replicates=more,
        covers=f"seeds and splits ({folds} folds)" if folds else "seeds on this split",
    )


def _distinct(choices: Sequence[Choice]) -> Chosen:
    """The values chosen for either option, each once."""
    first, second = zip(*choices, strict=True)
    return tuple(dict.fromkeys(first)), tuple(dict.fromkeys(second))


def _threshold(claim: Claim) -> float:
    """The effect that the claim must lie beyond."""
    return claim.margin if claim.larger else -claim.margin


def _oriented(claim: Claim, low: float, high: float) -> Verdict:
    """The verdict on a claim, whichever way it points."""
    if claim.larger:
        return intervals.verdict(low, high, claim.margin)
    return intervals.verdict(-high, -low, claim.margin)
