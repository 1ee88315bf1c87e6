"""Folding: a trained net as one that predicts the same without batch norm and without dropout.

In prediction batch norm is one factor and one shift for each unit, which the weights next to it can
take over: y = (x - μ)·a + β with a = γ/√(v + ε), so y = x·a + (β - μ·a).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from trainer.arrays import Array
from trainer.config import Config
from trainer.rules import Technique

_NORM = ("gamma", "beta", "mean", "variance")


def fold(config: Config, weights: Mapping[str, Array]) -> tuple[Config, dict[str, Array]]:
    """The configuration and the weights (R, …) of a net that predicts what the given one does.

    Batch norm before the activation goes into its own layer, which gets a bias; batch norm after
    the activation into the next one, of which the last has a bias as well. The new weights have
    the type of the old ones; nothing is written to.

    Args:
        config: of the trained net.
        weights: by name, as `training.weights` gives them.
    """
    model = config.model
    plain = replace(config, model=replace(model, batch_norm=Technique("none"), dropout=0.0))
    folded = {name: array for name, array in weights.items() if name.partition(".")[2] not in _NORM}
    if model.batch_norm.name == "none":
        return plain, folded
    for layer in range(len(model.hidden)):
        gamma, beta, mean, variance = (
            weights[f"{layer}.{part}"].astype(np.float64) for part in _NORM
        )
        factor = gamma / np.sqrt(variance + model.batch_norm["epsilon"])
        shift = beta - mean * factor
        if model.batch_norm.name == "before":
            weight = weights[f"{layer}.weight"]
            folded[f"{layer}.weight"] = (weight * factor[:, None, :]).astype(weight.dtype)
            folded[f"{layer}.bias"] = shift.astype(weight.dtype)
        else:
            weight, bias = weights[f"{layer + 1}.weight"], weights[f"{layer + 1}.bias"]
            folded[f"{layer + 1}.weight"] = (factor[:, :, None] * weight).astype(weight.dtype)
            moved = bias + (shift[:, None, :] @ weight)[:, 0]
            folded[f"{layer + 1}.bias"] = moved.astype(weight.dtype)
    return plain, folded
