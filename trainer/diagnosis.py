"""Diagnosis: in words, what the figures of a net's last epoch say about its training.

The thresholds are rules of thumb; what they say is what to look at, not what is the case.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np

from trainer.arrays import Array

Figure = TypeVar("Figure", float, Array)

VANISHING = 1e-2
"""Gradient of the first layer over that of the last, below which it vanishes. In the nets of Glorot
and Bengio (2010) that train well the layers' gradients differ by less than ten times."""

EXPLODING = 1e3
"""Norm of a layer's gradient; where training works it is about 1 or less."""

BEYOND, NOTHING = 1e18, 1e-12
"""Norms of a layer's gradient that leave nothing to be learnt. The square of the one is near the
largest float32, 3e38, and what divides by that makes no step; the other is far less than the 1e-8
that Adam adds to the size of a gradient which it divides by."""

ALIKE = 1e-6
"""Variance of activations over rows, in squares of their mean, that is none in float32."""

DEAD, SATURATED = 0.25, 0.5
"""Share of a layer's units, and of its activations, from which a layer has lost much of itself."""

SHIFT = 0.8
"""Test variance over training variance, or its inverse, below which batch norm is misled: dropout
of a tenth of the units gives .86, of a fifth .73 (Li et al. 2018)."""

GAP = {"accuracy": 0.05, "r2": 0.15}
"""How far training is above validation where that counts as overfitting, by the score. R² strays
more: its standard error is about 2R(1 - R²)/√n, .08 for .5 on 70 rows."""

UNFIT = {"accuracy": 0.7, "r2": 0.3}
"""Score in training below which a net does not fit its own data; much of a number may be noise."""


def diagnose(figures: Mapping[str, float]) -> list[str]:
    """What stands out, the gravest first; nothing if all looks well.

    Args:
        figures: of one epoch, the means over replicates: the four metrics and those of
            `health.Health`, of which any may be absent or NaN.
    """
    return [*_gradients(figures), *_layers(figures), *_fit(figures)]


def hopeless(history: Mapping[str, Array]) -> str | None:
    """Why no further training can help, if so: what to end a trial for.

    That is less than an illness: deep sigmoids whose first layer gets 1e-5 of the top layer's
    gradient have been seen to recover, a layer of which nothing passes has not.

    Args:
        history: (E, R) by name, of the latest epochs, as in `trainer.protocol.Progress`. All
            replicates must be beyond help; those that have stopped early are not.
    """
    for layer, shares in _by_layer(history, "dead"):
        if (shares[-1] == 1).all():
            return f"all of layer {layer} is dead"
    norms = dict(_by_layer(history, "gradient_norm"))
    for layer, norm in norms.items():
        if (norm[-1] > BEYOND).all():
            return f"the gradient of layer {layer} has norm {norm[-1].max():.0e}"
    if len(norms) > 1:
        first, top = norms[min(norms)][-1], norms[max(norms)][-1]
        nothing = (first < np.minimum(NOTHING, NOTHING * top)).all()
        means, variances = (dict(_by_layer(history, name)) for name in ("mean", "variance"))
        last = max(means, default=0)
        # else the upper layers learn from what the lower ones make of the rows by chance
        if nothing and last and (variances[last][-1] <= ALIKE * means[last][-1] ** 2).all():
            return f"layer 1 gets {first.max():.0e} of a gradient, the top the same of every row"
    return None


def _gradients(figures: Mapping[str, float]) -> Iterator[str]:
    norms = dict(_known(figures, "gradient_norm"))
    for layer, norm in norms.items():
        if norm > EXPLODING:
            yield f"exploding gradients: that of layer {layer} has norm {norm:.0e}"
            return
    if len(norms) > 1:
        first, top = norms[min(norms)], norms[max(norms)]
        if first < VANISHING * top:
            share = f"{first / top:.0e}" if first else "nothing"
            yield f"vanishing gradients: layer 1 gets {share} of the top layer's gradient"


def _layers(figures: Mapping[str, float]) -> Iterator[str]:
    for what, least in (("dead", DEAD), ("saturated", SATURATED)):
        for layer, share in _known(figures, what):
            if share >= least:
                yield f"{share:.0%} of layer {layer} is {what}".replace("%", " %")
    for layer, ratio in _known(figures, "variance_ratio"):
        if not SHIFT <= ratio <= 1 / SHIFT:
            yield (
                f"variance shift: batch norm {layer} meets {ratio:.2g} of its training variance "
                "in prediction"
            )


def _fit(figures: Mapping[str, float]) -> Iterator[str]:
    score = "r2" if "val_r2" in figures else "accuracy"
    train, validation = figures.get(f"train_{score}"), figures.get(f"val_{score}")
    if train is None or validation is None:
        return
    told = "R² " if score == "r2" else ""
    if train - validation > GAP[score]:
        yield f"fits train ({told}{train:.3f}), not validation ({validation:.3f}): regularise"
    elif train < UNFIT[score] and validation < UNFIT[score]:
        layered = any(name.startswith("health/") for name in figures)  # it may be no net of ours
        cure = ": try another activation, init, batch norm, learning rate or optimiser"
        yield f"does not fit train ({told}{train:.3f}){cure if layered else ''}"


def _known(figures: Mapping[str, float], what: str) -> Iterator[tuple[int, float]]:
    return (each for each in _by_layer(figures, what) if not math.isnan(each[1]))


def _by_layer(figures: Mapping[str, Figure], what: str) -> Iterator[tuple[int, Figure]]:
    for name, value in figures.items():
        if found := re.fullmatch(rf"health/{what}_(\d+)", name):
            yield int(found[1]), value
