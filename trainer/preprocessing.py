"""Preprocessing of features: one entry each in `PREPROCESSING`, fitted on training rows only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from trainer.arrays import Array
from trainer.rules import Setting, Technique

Fitted = dict[str, Array]
"""`shift` (D,) and `scale` (D,), in float64: a row x becomes (x - shift)·scale."""


@dataclass(frozen=True)
class Preprocessing:
    """One technique: `fit` gives its arrays from training rows (N, D) and the parameters."""

    fit: Callable[[Technique, Array], Fitted]
    parameters: Mapping[str, Setting] = field(default_factory=dict)


def transform(fitted: Fitted, x: Array) -> Array:
    """The rows of x (N, D) in float32."""
    if not fitted:
        return np.asarray(x, dtype=np.float32)
    return ((x - fitted["shift"]) * fitted["scale"]).astype(np.float32)


def fit(technique: Technique, x: Array) -> Fitted:
    """The arrays that `transform` needs, from the training rows x (N, D)."""
    return PREPROCESSING[technique.name].fit(technique, x)


def _none(_technique: Technique, _x: Array) -> Fitted:
    return {}


def _standardize(_technique: Technique, x: Array) -> Fitted:
    """To mean 0 and variance 1; a constant feature to 0."""
    mean = x.mean(axis=0, dtype=np.float64)
    # float32 numbers add up exactly here, so the deviation of a constant feature is truly 0
    return {"shift": mean, "scale": _inverse(x.std(axis=0, dtype=np.float64))}


def _minmax(_technique: Technique, x: Array) -> Fitted:
    """To [0, 1]; a constant feature to 0."""
    low = x.min(axis=0).astype(np.float64)
    return {"shift": low, "scale": _inverse(x.max(axis=0) - low)}


def _inverse(spread: Array) -> Array:
    return np.divide(1.0, spread, out=np.zeros(spread.shape), where=spread > 0)


PREPROCESSING: dict[str, Preprocessing] = {
    "none": Preprocessing(_none),
    "standardize": Preprocessing(_standardize),
    "minmax": Preprocessing(_minmax),
}
