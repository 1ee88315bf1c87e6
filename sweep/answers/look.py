"""A look at a claim: its matched configurations with the trials of one look, and what they tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sweep.answers.intervals import Floats
from sweep.answers.matching import Cell, Pair, Side
from sweep.answers.outcomes import ACCURACIES, Trained, diverged, outcome
from sweep.spec import space
from sweep.spec.claims import Claim
from sweep.spec.objectives import METRICS
from sweep.spec.study import Study

ADAPTIVE = ("tpe", "cmaes", "gp", "pbt")
"""Samplers that look at results when they choose, and so skew what is compared."""

TIMES = ("predict_seconds", "folded_predict_seconds", "epoch_seconds")
"""Metrics of which replicates are no independent measurements: they are trained together."""

Choice = tuple[space.Scalar, space.Scalar]
"""The candidates chosen for the two sides of a pair."""


@dataclass(frozen=True)
class Look:
    """A claim, its matched configurations, and the trials that one look has of them."""

    study: Study
    claim: Claim
    pairs: Sequence[Pair]
    trained: Trained

    @cached_property
    def found(self) -> int:
        """How many pairs have all their results."""
        return sum(all(self._mean(side.cells) is not None for side in pair) for pair in self.pairs)

    @property
    def diverged(self) -> int:
        """How many of the trials diverged."""
        return sum(diverged(self.trained[cell]) for cell in self._cells if cell in self.trained)

    def choices(self, count: int) -> list[Choice]:
        """The candidates of every pair that are best in the first `count` replicates.

        What is not known of a replicate is taken at its worst.
        """
        return [
            (self._best(first, count), self._best(second, count)) for first, second in self.pairs
        ]

    def differences(self, choices: Sequence[Choice]) -> Floats:
        """First less second side in the mean over pairs: at least and at most, (2, R)."""
        found = []
        for (first, second), (one, other) in zip(self.pairs, choices, strict=True):
            left, right = self._side(first, one), self._side(second, other)
            found.append(left - right[::-1])
        return np.asarray(np.mean(found, axis=0))

    def unfit(self) -> str | None:
        """Why the trials allow no verdict, if they don't."""
        sampler, by = self.study.search.sampler.name, self.claim.by
        if sampler in ADAPTIVE:
            return f"the sampler {sampler} chose trials by their results, which skews a comparison"
        if by in TIMES:
            return f"{by} is measured for all replicates together, so they are no blocks"
        endless = [each.name for each in self.study.parameters() if each.points() is None]
        if endless:
            return f"{endless[0]} has endless values, so configurations are not matched"
        if not self.pairs:
            return "the design has no configurations that differ in what is compared alone"
        if self.found == len(self.pairs):
            return None
        trials = [self.trained[cell] for cell in self._cells if cell in self.trained]
        short = [each for each in trials if outcome(self.study, by, each) is None]
        ended = [each for each in short if each.state not in ("running", "waiting")]
        text = (
            f"only {self.found} of {len(self.pairs)} matched configurations have all their results"
        )
        if not ended:
            missing = len(self._cells) - len(trials) + len(short)
            return f"{text}; {missing} trials are yet to be trained"
        if diverged(ended[0]) and by not in ACCURACIES:
            what = "R²" if by.endswith("_r2") else "a loss"
            cure = "" if self.study.data.regression else ": a claim by accuracy can be judged"
            return (
                f"{text}; trial {ended[0].number} {ended[0].reason}, and {what} has no mean where "
                f"some of it is infinite{cure}"
            )
        state = ended[0].reason or f"no finite {by} in every replicate"
        return f"{text}; trial {ended[0].number} is {ended[0].state}: {state}"

    @property
    def _cells(self) -> list[Cell]:
        return [cell for pair in self.pairs for side in pair for cell in side.cells]

    def _mean(self, cells: Sequence[Cell]) -> Floats | None:
        """The mean over cells of what they come to, (2, R); None if one has no result."""
        found = [outcome(self.study, self.claim.by, self.trained.get(cell)) for cell in cells]
        known = [each for each in found if each is not None]
        return np.mean(known, axis=0) if len(known) == len(cells) else None

    def _side(self, side: Side, candidate: space.Scalar) -> Floats:
        found = self._mean(side.candidates[candidate])
        assert found is not None  # nothing is judged before all pairs are whole
        return found

    def _best(self, side: Side, count: int) -> space.Scalar:
        def score(candidate: space.Scalar) -> float:
            least, most = self._side(side, candidate)[:, :count].mean(axis=1)
            return float(least if METRICS[self.claim.by] == "maximize" else -most)

        return (
            max(side.candidates, key=score)
            if len(side.candidates) > 1
            else next(iter(side.candidates))
        )
