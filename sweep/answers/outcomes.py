"""What trials came to, as claims count it: of each replicate the least and the most it can be.

A trial ends when one of its replicates diverges. By an accuracy the replicate that diverged counts
with what its weights then came to, which is about guessing; where the others would have ended is
not known, so they count with anything from 0 to 1 (the bounds of Manski 1990). A loss has no mean
where some of it is infinite, so by a loss such a trial has no outcome, nor has it by R², which has
no least value.
"""

from collections.abc import Mapping

import numpy as np

from sweep.answers.intervals import Floats
from sweep.answers.matching import Cell
from sweep.answers.results import TrialResult
from sweep.spec.study import Study

ACCURACIES = ("val_accuracy", "train_accuracy")

Trained = Mapping[Cell, TrialResult]
"""The trials of one look, by their parameters."""


def diverged(trial: TrialResult) -> bool:
    """Whether a trial ended because a replicate diverged."""
    return trial.state == "pruned" and (trial.reason or "").startswith("diverged")


def outcome(study: Study, metric: str, trial: TrialResult | None) -> Floats | None:
    """The least and the most that each replicate comes to, (2, R); None without a result."""
    if trial is None:
        return None
    count = len(study.replicates_of(trial.number))
    values = trial.metrics.get(metric, [])
    if len(values) != count:
        return None
    if trial.state == "complete":
        known = [each for each in values if each is not None]
        return np.array([known, known]) if len(known) == count else None
    if not diverged(trial) or metric not in ACCURACIES:
        return None
    losses = (trial.metrics.get(f"{split}_loss", [None] * count) for split in ("train", "val"))
    gone = [None in pair for pair in zip(*losses, strict=True)]
    ends = [
        (each, each) if lost and each is not None else (0.0, 1.0)
        for each, lost in zip(values, gone, strict=True)
    ]
    return np.array(ends).T
