"""Folding: a trained net as one that predicts the same without batch norm and without dropout.

In prediction batch norm is one factor and one shift for each unit, which the weights next to it can
take over: y = (x - μ)·a + β with a = γ/√(v + ε), so y = x·a + (β - μ·a).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from trainer.arrays import Array
from trainer.config import Config, Dropout, Model
from trainer.dropout import kept
from trainer.network import dropped
from trainer.reading import check
from trainer.rules import Technique

_NORM = ("gamma", "beta", "mean", "variance")


def fold(config: Config, weights: Mapping[str, Array]) -> tuple[Config, dict[str, Array]]:
    """The configuration and the weights (R, …) of a net that predicts what the given one does.

    Batch norm before the activation goes into its own layer, which gets a bias; batch norm after
    the activation into the next one, of which the last has a bias as well. So do the factors of
    vanilla dropout. The new weights have the type of the old ones; nothing is written to.

    Convolutions with batch norm after the activation stay as they are: the zeros at the border of
    the next one, and pooling, come between.

    Args:
        config: of the trained net.
        weights: by name, as `state.weights` gives them.
    """
    model = config.model
    if model.channels and model.batch_norm.name == "after":
        return config, dict(weights)
    none = check(Dropout, {})
    plain = replace(config, model=replace(model, batch_norm=Technique("none"), dropout=none))
    folded = {name: array for name, array in weights.items() if name.partition(".")[2] not in _NORM}
    if model.dropout.kind.name == "vanilla":
        folded["0.weight"] = _scaled(folded["0.weight"], kept(model.dropout.input))
    for layer in range(model.depth):
        before, end = _factors(model, layer)
        own, following = f"{layer}.weight", f"{layer + 1}.weight"
        if model.batch_norm.name != "none":
            gamma, beta, mean, variance = (
                weights[f"{layer}.{part}"].astype(np.float64) for part in _NORM
            )
            factor = gamma / np.sqrt(variance + model.batch_norm["epsilon"])
            shift, factor = beta - mean * factor, factor * before
        if model.batch_norm.name == "before":
            folded[own] = _scaled(folded[own], factor[:, None, :])
            folded[f"{layer}.bias"] = shift.astype(folded[own].dtype)
        elif model.batch_norm.name == "after":
            bias = f"{layer + 1}.bias"
            moved = (end * shift[:, None, :] @ folded[following])[:, 0]
            folded[bias] = (folded[bias] + moved).astype(folded[bias].dtype)
            folded[following] = _scaled(folded[following], factor[:, :, None])
        folded[following] = _scaled(folded[following], end)
    return plain, folded


def _factors(model: Model, layer: int) -> tuple[float, float]:
    """What vanilla dropout multiplies by in prediction: before batch norm, and at the end."""
    if model.dropout.kind.name != "vanilla":
        return 1.0, 1.0
    factor, place = kept(model.dropout.rate), dropped(model, layer)
    return factor if place == "before_bn" else 1.0, factor if place == "end" else 1.0


def _scaled(weight: Array, factor: Array | float) -> Array:
    """A new array of the same type."""
    return (weight * factor).astype(weight.dtype)
