"""Sensitivity: how much the loss changes when single weights are nudged, layer by layer.

Δl/Δw ≈ ∂l/∂w. It tells which layers matter to what a net predicts, and no backward pass has a part
in it, so that it also checks the gradients.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainer.arrays import Array
from trainer.config import Config
from trainer.prediction import Evaluation, network_of

NUDGE = 0.01
"""How far a weight is moved, as a share of the root mean square of its layer's weights."""

WEIGHTS = 32
"""How many weights of a layer are nudged, at most."""


@dataclass(frozen=True)
class Sensitivity:
    """What nudges of a layer's weights do to the loss, for each of R replicates.

    Attributes:
        layer: counted from 1 at the input.
        weights: how many weights it has.
        nudge: Δw (R,).
        change: |Δl| (R,), the mean over the weights that were nudged.
    """

    layer: int
    weights: int
    nudge: Array
    change: Array

    @property
    def slope(self) -> Array:
        """|Δl/Δw| (R,), about the mean size of the gradient."""
        return self.change / self.nudge


def sensitivities(
    config: Config,
    weights: Mapping[str, Array],
    x: Array,
    y: Array,
    *,
    generator: np.random.Generator,
) -> list[Sensitivity]:
    """Nudges weights of every layer, one at a time, and looks at the mean loss.

    A weight is moved up and down, and Δl is half of the difference: the error in Δl/Δw is then of
    the order of Δw². All is done in float64, as prediction does it: without dropout, batch norm
    with its running statistics.

    Args:
        config: the net.
        weights: (R, …) by name, as `state.learnt` gives them; not written to.
        x: rows (n, D).
        y: their classes (n,), or numbers (n, K) on the scale that the net learns, see `targets`.
        generator: chooses the weights, the same for all replicates.

    Returns:
        The layers, from the input upwards.
    """
    arrays = {name: np.array(array, np.float64, order="C") for name, array in weights.items()}
    net, task = network_of(config, arrays), config.training.task
    loss = Evaluation(net, arrays, np.asarray(x, np.float64)[None], y[None], task=task)
    found = []
    with np.errstate(all="ignore"):
        for index in range(config.model.depth + 1):
            layer = arrays[f"{index}.weight"]
            flat = layer.reshape(len(layer), -1)
            size = np.sqrt((flat * flat).mean(axis=1))
            nudge = NUDGE * np.where(size > 0, size, 1.0)
            chosen = generator.permutation(flat.shape[1])[:WEIGHTS]
            changes = [_change(loss, flat[:, each], nudge) for each in chosen]
            found.append(Sensitivity(index + 1, flat.shape[1], nudge, np.mean(changes, axis=0)))
    return found


def _change(loss: Evaluation, weight: Array, nudge: Array) -> Array:
    """|Δl| (R,) for a weight (R,), a view on the arrays of the net."""
    kept = weight.copy()
    np.add(kept, nudge, out=weight)
    above, _ = loss()
    np.subtract(kept, nudge, out=weight)
    below, _ = loss()
    weight[:] = kept
    change: Array = np.abs(above - below) / 2
    return change
