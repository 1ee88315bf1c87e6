"""What nudges of single weights do to a trained trial's validation loss, layer by layer."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sweep.answers.results import finite
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data
from trainer.sensitivity import sensitivities
from trainer.state import State, learnt
from trainer.streams import Purpose, generator
from trainer.targets import standardised
from trainer.tasks import REGRESSION

ROWS = 512
"""Validation rows that are looked at, at most."""


@dataclass(frozen=True)
class LayerSensitivity:
    """A layer's figures as in `trainer.sensitivity`, as means over the replicates.

    None where a replicate's loss is not finite.
    """

    layer: int
    weights: int
    nudge: float | None
    change: float | None
    slope: float | None

    def __str__(self) -> str:
        numbers = (self.nudge, self.change, self.slope)
        nudge, change, slope = ("–" if each is None else f"{each:.2g}" for each in numbers)
        return (
            f"layer {self.layer}: {nudge} on one of its {self.weights} weights changes the loss "
            f"by {change}, {slope} per unit"
        )


def measured(config: Config, state: State, data: Data, seed: int) -> list[LayerSensitivity]:
    """Nudges the same weights in every replicate, on its own validation rows.

    The loss is that of the training: in a regression on the scale that the net learns.
    """
    found, each = learnt(config, state), []
    for place in range(len(state["parameters"])):
        fold = data.fold(place)
        mine = {name: array[place : place + 1] for name, array in found.items()}
        stream = generator(seed=seed, purpose=Purpose.SENSITIVITY)
        x, y = np.asarray(fold.x_val[:ROWS]), fold.y_val[:ROWS]
        if data.task is REGRESSION:
            y = standardised(y, state, place)
        each.append(sensitivities(config, mine, x, y, generator=stream))
    return [
        LayerSensitivity(
            layer[0].layer,
            layer[0].weights,
            _mean(one.nudge for one in layer),
            _mean(one.change for one in layer),
            _mean(one.slope for one in layer),
        )
        for layer in zip(*each, strict=True)
    ]


def _mean(values: Iterable[Array]) -> float | None:
    return finite(float(np.mean(list(values))))
