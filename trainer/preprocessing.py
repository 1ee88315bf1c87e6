"""Preprocessing of features: one entry each in `PREPROCESSING`, fitted on training rows only.

Rows are worked on in blocks: in float64 a whole data set would take twice its own memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainer.arrays import Array
from trainer.dataset import DataError
from trainer.resizing import resized
from trainer.rules import Integer, Optional, Real, Setting, Technique
from trainer.selection import ROWS, Features, Selection, all_of
from trainer.table import stored

Fitted = dict[str, Array]
"""`shift` (D,) and either `scale` (D,) or `matrix` (D, K), in float64.

A row x becomes (x - shift)·scale, or the product of x - shift and the matrix; without these arrays
it stays as it is. `lines` and `columns`, if there are any, resize it first, see `resizing`.
"""


@dataclass(frozen=True)
class Preprocessing:
    """One technique: `fit` gives its arrays from training rows (N, D) and the parameters."""

    fit: Callable[[Technique, Features], Fitted]
    parameters: Mapping[str, Setting] = field(default_factory=dict)


def arranged(fitted: Fitted, x: Features) -> Array:
    """The same as `transform`; of rows on disk a selection, whose bits are the same.

    Shift and scale wait until its rows are read. What a matrix makes of them, of which the bits
    depend on the rows that it is applied to together, is a table of its own.
    """
    if not isinstance(x, Selection):
        return transform(fitted, x)
    if "matrix" in fitted:
        made = (transform(fitted, block) for block in blocks(x))
        return all_of(stored(made, (len(x), fitted["matrix"].shape[1])))
    return x.scaled(fitted.get("shift"), fitted.get("scale"))


def transform(fitted: Fitted, x: Features) -> Array:
    """The rows of x (N, D) in float32, (N, K) if a matrix changes their number of features."""
    x = np.asarray(x)
    if "lines" in fitted:
        x = resized(fitted, x)
    if "shift" not in fitted:
        return np.asarray(x, dtype=np.float32)
    matrix = fitted.get("matrix")
    made = np.empty((len(x), x.shape[1] if matrix is None else matrix.shape[1]), np.float32)
    for target, block in zip(blocks(made), _centred(x, fitted["shift"]), strict=True):
        target[:] = block * fitted["scale"] if matrix is None else block @ matrix
    return made


def fit(technique: Technique, x: Features) -> Fitted:
    """The arrays that `transform` needs, from the training rows x (N, D).

    Raises:
        DataError: the rows do not vary in as many directions as are wanted.
    """
    return PREPROCESSING[technique.name].fit(technique, x)


def aligned(folds: Sequence[Fitted]) -> tuple[Fitted, ...]:
    """The arrays of all folds, for as many features as the fold with the fewest has.

    Under PCA folds may differ in their number of null directions; what goes is the weakest.
    """
    if "matrix" not in folds[0]:
        return tuple(folds)
    width = min(each["matrix"].shape[1] for each in folds)
    return tuple(each | {"matrix": each["matrix"][:, :width]} for each in folds)


def _none(_technique: Technique, _x: Features) -> Fitted:
    return {}


def _standardize(_technique: Technique, x: Features) -> Fitted:
    """To mean 0 and variance 1; a constant feature to 0."""
    mean = _mean(x)
    squares = np.zeros_like(mean)
    for block in _centred(x, mean):
        squares += np.square(block).sum(axis=0)
    return {"shift": mean, "scale": _inverse(np.sqrt(squares / len(x)))}


def _minmax(_technique: Technique, x: Features) -> Fitted:
    """To [0, 1]; a constant feature to 0."""
    low = np.min([block.min(axis=0) for block in blocks(x)], axis=0).astype(np.float64)
    high = np.max([block.max(axis=0) for block in blocks(x)], axis=0)
    return {"shift": low, "scale": _inverse(high - low)}


def _pca(technique: Technique, x: Features) -> Fitted:
    """PCA whitening: U(Λ + εI)^(-1/2), the strongest directions first, the null ones dropped."""
    mean, variances, directions = _principal(x)
    found, wanted = len(variances), technique["components"]
    if found == 0:
        raise DataError("pca: must have training rows that differ")
    if wanted is not None and wanted > found:
        rule = f"must be at most {found}, the directions in which the training rows vary"
        raise DataError(f"pca.components: {rule}, got {wanted}")
    kept = slice(wanted)
    return {
        "shift": mean,
        "matrix": directions[:, kept] / np.sqrt(variances[kept] + technique["epsilon"]),
    }


def _zca(technique: Technique, x: Features) -> Fitted:
    """ZCA whitening: U(Λ + εI)^(-1/2)Uᵀ, the whitening that moves rows least.

    Bell and Sejnowski 1997. Null directions are left at 0.
    """
    mean, variances, directions = _principal(x)
    scaled = directions / np.sqrt(variances + technique["epsilon"])
    return {"shift": mean, "matrix": scaled @ directions.T}


def _principal(x: Features) -> tuple[Array, Array, Array]:
    """The mean (D,), and the variances Λ (K,) and directions U (D, K) of what is not null.

    Λ are eigenvalues of the unbiased covariance, the largest first. A direction is null where the
    rows vary by no more than float32, in which they come, rounds numbers of their size.
    """
    mean = _mean(x)
    covariance = np.zeros((len(mean), len(mean)))
    for block in _centred(x, mean):
        covariance += block.T @ block
    covariance /= max(len(x) - 1, 1)
    variances, directions = np.linalg.eigh(covariance)
    size = np.trace(covariance) + mean @ mean
    order = np.flatnonzero(variances > np.finfo(np.float32).eps ** 2 * size)[::-1]
    variances, directions = variances[order], directions[:, order]
    # an eigenvector has no sign of its own: its largest entry is made positive
    largest = np.abs(directions).argmax(axis=0)
    return mean, variances, directions * np.sign(directions[largest, np.arange(len(order))])


def _mean(x: Features) -> Array:
    """In float64, where float32 numbers add up exactly: a constant feature has no deviation."""
    total = np.zeros(x.shape[1])
    for block in blocks(x):
        total += block.sum(axis=0, dtype=np.float64)
    return total / len(x)


def _centred(x: Features, shift: Array) -> Iterator[Array]:
    return (block - shift for block in blocks(x))


def blocks(x: Features) -> Iterator[Array]:
    """The rows of x (N, D), read some at a time; the bits of what is made of them depend on it."""
    return (np.asarray(x[start : start + ROWS]) for start in range(0, len(x), ROWS))


def _inverse(spread: Array) -> Array:
    return np.divide(1.0, spread, out=np.zeros(spread.shape), where=spread > 0)


_EPSILON = Setting(0.0, Real(0.0), "added to the variance in every direction")

PREPROCESSING: dict[str, Preprocessing] = {
    "none": Preprocessing(_none),
    "standardize": Preprocessing(_standardize),
    "minmax": Preprocessing(_minmax),
    "pca": Preprocessing(
        _pca,
        {
            "components": Setting(
                None, Optional(Integer(1)), "the strongest directions to keep; by default all"
            ),
            "epsilon": _EPSILON,
        },
    ),
    "zca": Preprocessing(_zca, {"epsilon": _EPSILON}),
}
