"""The targets of a regression: the scale on which a net learns them, and its answers in their unit.

A net learns targets of mean 0 and variance 1 over the training rows, whatever their unit: that is
what initial weights and learning rates are meant for, and an output bias of 0 starts at the mean.
The loss is on that scale too: 1 is that of a net which always answers the mean. Prediction needs
to know nothing of this, since `restored` puts the scale into the weights of the last layer.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from trainer.arrays import Array

SHIFT, SCALE = "targets.shift", "targets.scale"
"""In a state: mean and standard deviation (R, K) over each replicate's training rows."""


def scales(targets: Sequence[Array]) -> dict[str, Array]:
    """What a state keeps of the training targets y (n, K) of each replicate.

    A target that does not vary keeps its unit.
    """
    exact = [np.asarray(y, np.float64) for y in targets]
    spread = np.stack([y.std(axis=0) for y in exact])
    return {
        SHIFT: np.stack([y.mean(axis=0) for y in exact]),
        SCALE: np.where(spread > 0, spread, 1.0),
    }


def standardised(y: Array, state: Mapping[str, Array], replicate: int) -> Array:
    """Targets (n, K) as a replicate learns them."""
    found: Array = (y - state[SHIFT][replicate]) / state[SCALE][replicate]
    return found


def restored(weight: Array, bias: Array, state: Mapping[str, Array]) -> tuple[Array, Array]:
    """The last layer's W (R, D, K) and b (R, K) whose outputs are in the targets' unit.

    From z = x·W + b to z·scale + shift; in float64, since float32 has not the digits of targets
    that vary little for their size, such as seconds since 1970.
    """
    shift, scale = state[SHIFT], state[SCALE]
    return weight * scale[:, None, :], bias * scale + shift
