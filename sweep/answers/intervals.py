"""Intervals and verdicts for differences that were measured once in every block.

A block is a replicate: one stream of random numbers (and, with folds, one split) that both sides of
a comparison share. What the blocks have in common cancels in their differences, so the difference
per block is one draw, and the mean over blocks has a t interval (Student 1908).

A family of m claims is kept at `ERROR` by Bonferroni (Dunn 1961): each claim has an interval of its
own at error/m. Holm's step-down would reject a little more, but has no intervals of this form that
agree with its verdicts; here a verdict is nothing but where the interval lies, and the bound holds
whatever the claims have in common (arms, blocks, trials).

Cross-validation's folds train on overlapping rows, which a t interval takes for independent ones.
Nadeau and Bengio (2003) add n_test/n_train to 1/R in the variance of the mean; for k folds that is
1/(k - 1).
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Verdict = Literal["supported", "refuted", "undecided"]

ERROR = 0.05
"""How often a family of claims may hold a false verdict."""

SPENT = (0.8, 0.1, 0.1)
"""The share of `ERROR` that each look at the claims may spend.

Whatever the looks have in common, the shares add up (Bonferroni again). The first look has most of
it because few studies have another, and because later ones have two or four times the replicates.
How many replicates a look has is fixed beforehand: a number chosen by what was seen so far would
make the bound false (Proschan and Hunsberger 1995).
"""

LEAST = 5
"""The fewest replicates that a verdict may rest on."""

MOST = 1000
"""The most replicates that a study may have."""


class Interval(NamedTuple):
    """The mean over blocks and the ends of its interval, each of shape (…)."""

    mean: Floats
    low: Floats
    high: Floats


def interval(blocks: Floats, *, error: float, overlap: float = 0.0) -> Interval:
    """The t interval of the mean over blocks.

    Args:
        blocks: (…, R) differences, R at least 2.
        error: how often the interval may miss the true mean.
        overlap: n_test/n_train of folds that share training rows; 0 for independent blocks.
    """
    count = blocks.shape[-1]
    mean, sd = blocks.mean(axis=-1), blocks.std(axis=-1, ddof=1)
    half = _quantile(count - 1, error) * sd * np.sqrt(1 / count + overlap)
    return Interval(mean, mean - half, mean + half)


def verdict(low: float, high: float, margin: float) -> Verdict:
    """Whether an effect lies above `margin`, as its interval tells.

    It is supported when the whole interval lies above, refuted when the whole lies below.
    """
    if low > margin:
        return "supported"
    return "refuted" if high < margin else "undecided"


def more_replicates(blocks: Floats, margin: float, *, error: float) -> int | None:
    """How many more replicates would decide, if mean and deviation stay as they are.

    Args:
        blocks: (R,) differences, independent of each other.
        margin: what the interval must not reach across.
        error: as in `interval`.

    Returns:
        The number; None if even `MOST` replicates would not do, or no deviation is known yet.
    """
    if len(blocks) < 2:
        return None
    counts = np.arange(max(len(blocks) + 1, LEAST), MOST + 1)
    half = _quantile(counts - 1, error) * blocks.std(ddof=1) / np.sqrt(counts)
    enough = counts[half < abs(blocks.mean() - margin)]
    return int(enough[0]) - len(blocks) if len(enough) else None


def _quantile(freedom: Any, error: float) -> Any:
    """The t quantile that is exceeded, on either side, with so much chance in all."""
    from scipy.special import stdtrit  # takes 0.2 s, for which no first trial should wait

    return stdtrit(freedom, 1 - error / 2)
