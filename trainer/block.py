"""Blocks: the hidden layers of a net as pretraining sees them, without batch norm and dropout."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.arrays import Array
from trainer.layers import Layer, applied
from trainer.rules import Technique

Arrays = Mapping[str, Array]
"""What one replicate's net has learned, by name (`0.weight`), without the replicate axis."""

Rows = Callable[[Array, np.random.Generator], Array]
"""The rows (n, D_in) that a linear layer is applied to, of what enters a block."""


@dataclass(frozen=True)
class Block:
    """A hidden layer: its linear part, its activation, perhaps pooling.

    Attributes:
        name: the prefix of its arrays.
        layers: its parts, which follow those of the block below.
        units: of its linear part, each with the pieces that the activation asks for.
        init: how its weights were drawn.
        activation: what follows the linear part.
        at_once: how many rows of its input are in memory at once.
        rows: what its linear part sees of its input; of images patches, see `convolution.patches`.
    """

    name: str
    layers: tuple[Layer, ...]
    units: int
    init: Technique
    activation: Technique
    at_once: int
    rows: Rows

    def own(self, arrays: Arrays) -> dict[str, Array]:
        """Its arrays among those of the net, with a replicate axis: (1, …)."""
        return {name: arrays[name][None] for part in self.layers for name in part.learned}

    def through(self, arrays: Arrays, x: Array) -> Array:
        """What enters the next block, given what enters this one."""
        return applied(self.layers, self.own(arrays), x, self.at_once)


Learn = Callable[
    [Technique, Sequence[Block], Arrays, Array, Array, Sequence[np.random.Generator]], None
]
"""Moves the arrays of all blocks in place: `learn(technique, blocks, arrays, x, y, streams)`.

x (n, D) are the training rows and y (n,) their classes; there is a random stream for each block.
"""
