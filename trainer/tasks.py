"""Tasks: what a net is trained for, to tell classes apart or to predict numbers, and its score.

A score is a share: that of the rows that are right (accuracy), or that of the targets' variance
that is explained (R²).
"""

from typing import Any, Protocol

import numpy as np

from trainer.arrays import Array
from trainer.losses import exponentials, score, softmax, targets
from trainer.tape import Tape


class Task(Protocol):
    """What lies between the scores of a net (R, K, N) and its loss, its metrics and its answers.

    A loss and `write` leave arrays behind, of which there is one for each shape in `left`; those of
    several batches can be scored together, along an axis after that of the replicates.
    """

    @property
    def metric(self) -> str:
        """The name of its score."""

    def left(self, outputs: int, rows: int) -> tuple[tuple[int, int], ...]:
        """The shapes, without the replicates, of what `write` leaves behind."""

    def fill(self, y: Array, weight: float, out: Array) -> None:
        """Fills out (…, K, N) with the targets of y (…, N) or (…, N, K), labels times `weight`."""

    def write(self, tape: Tape, scores: Array, target: Array, left: tuple[Array, ...]) -> None:
        """Writes on a tape what `score` reads."""

    def score(self, y: Array, target: Array, left: tuple[Array, ...]) -> tuple[Array, Array]:
        """What adds up over batches in float64: the loss (R,), and of what the score is a share."""

    def whole(self, y: Array) -> Any:
        """What it is a share of, for y (R or 1, N) or (R or 1, N, K)."""

    def share(self, part: Array, whole: Any) -> Array:
        """The score (R,)."""

    def answer(self, tape: Tape, scores: Array, left: tuple[Array, ...]) -> Array:
        """Writes what the net answers (R, K, N) on a tape."""


class Classification:
    """The likeliest of K classes; y are labels that count 0 … K - 1."""

    metric = "accuracy"

    def left(self, outputs: int, rows: int) -> tuple[tuple[int, int], ...]:
        """Of `losses.exponentials`: `shifted` and `sums`."""
        return (outputs, rows), (1, rows)

    def fill(self, y: Array, weight: float, out: Array) -> None:
        """See `losses.targets`."""
        targets(y, weight, out)

    def write(self, tape: Tape, scores: Array, target: Array, left: tuple[Array, ...]) -> None:
        """See `losses.exponentials`."""
        exponentials(tape, scores, *left)

    def score(self, y: Array, target: Array, left: tuple[Array, ...]) -> tuple[Array, Array]:
        """The sum of the cross-entropies, and how many answers are right."""
        return score(y, target, *left)

    def whole(self, y: Array) -> int:
        """How many rows there are."""
        return int(y.shape[1])

    def share(self, part: Array, whole: Any) -> Array:
        """The accuracy."""
        found: Array = part / whole
        return found

    def answer(self, tape: Tape, scores: Array, left: tuple[Array, ...]) -> Array:
        """Probabilities."""
        return softmax(tape, scores, *left)


class Regression:
    """K real numbers y, on a scale on which those of the training rows have variance 1."""

    metric = "r2"

    def left(self, outputs: int, rows: int) -> tuple[tuple[int, int], ...]:
        """The errors, scores less targets."""
        return ((outputs, rows),)

    def fill(self, y: Array, weight: float, out: Array) -> None:
        """They have no weight: the loss takes the mean."""
        np.copyto(out, y.swapaxes(-1, -2))

    def write(self, tape: Tape, scores: Array, target: Array, left: tuple[Array, ...]) -> None:
        """The errors."""
        tape.add(tape.xp.subtract, scores, target, out=left[0])

    def score(self, y: Array, target: Array, left: tuple[Array, ...]) -> tuple[Array, Array]:
        """The sum over rows of the mean of the K squared errors, and their sums (R, K)."""
        squares = np.stack([_sums(np.square(each, dtype=np.float64)) for each in left[0]])
        return np.array([each.mean() for each in squares]), squares

    def whole(self, y: Array) -> Array:
        """Σ(y - ȳ)² of each target (R or 1, K)."""
        exact = y.astype(np.float64)
        return np.stack([_sums(np.square(each - each.mean(axis=0)).T) for each in exact])

    def share(self, part: Array, whole: Any) -> Array:
        """R² = 1 - Σ(y - z)²/Σ(y - ȳ)², the mean over the targets."""
        unexplained: Array = part / whole
        return np.array([1 - each.mean() for each in unexplained])

    def answer(self, tape: Tape, scores: Array, left: tuple[Array, ...]) -> Array:
        """The scores themselves."""
        return scores


def _sums(squares: Array) -> Array:
    """Of (…, K, N) those of each target (K,); of one replicate, so that no other has a part."""
    axes = tuple(axis for axis in range(squares.ndim) if axis != squares.ndim - 2)
    found: Array = squares.sum(axis=axes)
    return found


CLASSIFICATION: Task = Classification()
REGRESSION: Task = Regression()


def explained(y: Array, answers: Array) -> Array:
    """R² of each target (K,), see `Regression.share`, of answers (n, K) where y (n, K) is right."""
    errors, whole = np.square(y - answers).sum(axis=0), REGRESSION.whole(y[None])[0]
    return REGRESSION.share(errors[:, None], whole[:, None])


def metrics(task: Task) -> tuple[str, str, str, str]:
    """The four metrics of every epoch."""
    return "train_loss", f"train_{task.metric}", "val_loss", f"val_{task.metric}"
