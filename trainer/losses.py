"""Losses: softmax with cross-entropy or the squared error of the probabilities; that of numbers.

What a classifier is trained on is its choice alone: losses are reported as cross-entropies, so that
those of any two nets can be compared.

The sigmoid with binary cross-entropy is the same with two classes of which the first has the score
0 (`layers.against_zero`): log(1 + e^z) - y·z either way.

Scores are kept class by class, (R, K, N): the largest and the sum over K then run along whole rows
of numbers in memory, which is faster than one short reduction for each of N rows.
"""

import math
from collections.abc import Callable

import numpy as np

from trainer.arrays import Array
from trainer.tape import Tape


def exponentials(tape: Tape, scores: Array, shifted: Array, sums: Array) -> Array:
    """Writes e^(z - max z) and its sums on a tape.

    Args:
        tape: where to write.
        scores: z (R, K, N).
        shifted: receives z - max z (R, K, N).
        sums: receives Σ e^(z - max z) (R, 1, N), times N when training.

    Returns:
        (R, K, N).
    """
    xp = tape.xp
    replicates, classes, rows = scores.shape
    largest, odds = tape.empty((replicates, 1, rows)), tape.empty(scores.shape)
    weights = tape.filled((1, 1, classes), float(rows) if tape.training else 1.0)
    tape.largest(scores, 1, largest)
    tape.add(xp.subtract, scores, largest, out=shifted)
    tape.add(xp.exp, shifted, out=odds)
    tape.add(xp.matmul, weights, odds, out=sums)
    return odds


def softmax(tape: Tape, scores: Array, shifted: Array, sums: Array) -> Array:
    """Writes the probabilities e^(z - max z)/Σ on a tape; arguments as for `exponentials`.

    Returns:
        (R, K, N): the probabilities, over N when training: the mean loss then needs no scaling.
    """
    odds = exponentials(tape, scores, shifted, sums)
    tape.add(tape.xp.divide, odds, sums, out=odds)
    return odds


def cross_entropy(
    tape: Tape,
    scores: Array,
    target: Array,
    shifted: Array,
    sums: Array,
    *,
    smoothing: float = 0.0,
) -> Array:
    """Writes the gradient of the mean cross-entropy by the scores, (p - y)/N, on a tape.

    Args:
        tape: where to write.
        scores: z (R, K, N).
        target: y/N (R, K, N), see `targets`.
        shifted: as for `exponentials`.
        sums: as for `exponentials`.
        smoothing: ε of label smoothing, (1 - ε)y + ε/K in the place of y (Szegedy et al. 2016). It
            concerns the gradient alone: losses are reported by the labels themselves, so that
            those of training and of validation can be compared.

    Returns:
        (R, K, N).
    """
    gradient = softmax(tape, scores, shifted, sums)
    tape.add(tape.xp.subtract, gradient, _smoothed(tape, target, smoothing), out=gradient)
    return gradient


def squared_error(
    tape: Tape,
    scores: Array,
    target: Array,
    shifted: Array,
    sums: Array,
    *,
    smoothing: float = 0.0,
) -> Array:
    """Writes the gradient of the mean of Σ_k (p_k - y_k)² by the scores (Brier 1950).

    It is 2/N·p_k·(e_k - Σ_j p_j e_j) with e = p - y, which vanishes where the net is sure, be it
    right or wrong (Glorot and Bengio 2010, section 4.1). Arguments as for `cross_entropy`.
    """
    xp, odds = tape.xp, softmax(tape, scores, shifted, sums)
    replicates, classes, rows = scores.shape
    error, product = tape.empty(scores.shape), tape.empty(scores.shape)
    mean = tape.empty((replicates, 1, rows))
    tape.add(xp.subtract, odds, _smoothed(tape, target, smoothing), out=error)
    tape.add(xp.multiply, odds, tape.constant(rows), out=odds)  # they came over N
    tape.add(xp.multiply, odds, error, out=product)
    tape.add(xp.matmul, tape.filled((1, 1, classes), 1.0), product, out=mean)
    tape.add(xp.subtract, error, mean, out=error)
    tape.add(xp.multiply, error, odds, out=error)
    tape.add(xp.multiply, error, tape.constant(2.0), out=error)
    return error


def mean_squared_error(tape: Tape, scores: Array, target: Array, errors: Array) -> Array:
    """Writes the gradient of the mean of (z - y)² over rows and outputs, 2(z - y)/NK, on a tape.

    Args:
        tape: where to write.
        scores: z (R, K, N).
        target: y (R, K, N).
        errors: receives z - y (R, K, N).

    Returns:
        (R, K, N).
    """
    xp, gradient = tape.xp, tape.empty(scores.shape)
    _, outputs, rows = scores.shape
    tape.add(xp.subtract, scores, target, out=errors)
    tape.add(xp.multiply, errors, tape.constant(2 / (rows * outputs)), out=gradient)
    return gradient


LOSSES: dict[str, Callable[..., Array]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": cross_entropy,
    "squared_error": squared_error,
    "mean_squared_error": mean_squared_error,
}
"""What writes the gradient by the scores, by the name of `training.loss`."""

OF_NUMBERS = ("mean_squared_error",)
"""Those of a regression; the others are of a classification."""


def _smoothed(tape: Tape, target: Array, smoothing: float) -> Array:
    if not smoothing:
        return target
    xp, smooth = tape.xp, tape.empty(target.shape)
    _, classes, rows = target.shape
    tape.add(xp.multiply, target, tape.constant(1 - smoothing), out=smooth)
    tape.add(xp.add, smooth, tape.constant(smoothing / classes / rows), out=smooth)
    return smooth


def targets(labels: Array, weight: float, out: Array) -> None:
    """Fills out (…, K, N) with `weight` at the labels (…, N) and 0 elsewhere."""
    classes = np.arange(out.shape[-2])[:, None]
    np.multiply(labels[..., None, :] == classes, out.dtype.type(weight), out=out)


def score(labels: Array, target: Array, shifted: Array, sums: Array) -> tuple[Array, Array]:
    """Adds up what a tape with `exponentials` has left behind, for each replicate.

    Args:
        labels: (R or 1, …, N).
        target: (R or 1, …, K, N), see `targets`; its weight is w.
        shifted: (R, …, K, N).
        sums: (R, …, 1, N), Σ e^(z - max z)/w.

    Returns:
        The sum of the cross-entropies and the number of right answers, each (R,) in float64.
    """
    replicates, weight = sums.shape[0], float(target.max())
    logs = np.log(sums).reshape(replicates, 1, -1)
    # Dot products by BLAS: a reduction by NumPy adds in another order when R = 1.
    size = np.matmul(logs, np.ones((logs.shape[-1], 1), logs.dtype))[:, 0, 0].astype(float)
    size += logs.shape[-1] * math.log(weight)
    flat = target.reshape(target.shape[0], -1, 1)
    right = np.matmul(shifted.reshape(replicates, 1, -1), flat)[:, 0, 0].astype(float) / weight
    return size - right, _correct(labels, target, shifted)


def _correct(labels: Array, target: Array, shifted: Array) -> Array:
    """How often the label has the largest score, the first of equals, for each replicate (R,)."""
    largest = shifted == 0
    if np.count_nonzero(largest) == shifted.size // shifted.shape[-2]:  # no ties: much faster
        hits = largest & (target > 0)
    else:
        hits = np.argmax(shifted, axis=-2) == labels
    return np.array([np.count_nonzero(each) for each in hits], dtype=float)
