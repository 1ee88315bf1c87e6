"""Networks: layers in a row, and where their arrays lie in one flat vector for each replicate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.activations import pieces
from trainer.arrays import Array
from trainer.config import Model
from trainer.layers import Layer, Start, activate, batch_norm, dense, dropout
from trainer.rules import Technique
from trainer.tape import Backward, Tape, words


class Layout:
    """Named arrays one after the other in a flat vector, one such vector for each replicate."""

    def __init__(self, starts: Mapping[str, Start]) -> None:
        self._starts = dict(starts)
        self.size = sum(int(np.prod(start.shape)) for start in starts.values())

    def draw(self, generators: Sequence[np.random.Generator], dtype: Any) -> Array:
        """First values (R, size), with one generator for each replicate."""
        flat = np.empty((len(generators), self.size), dtype)
        for generator, row in zip(generators, flat, strict=True):
            for name, view in self.views(row[None]).items():
                view[0] = self._starts[name].draw(generator)
        return flat

    def views(self, flat: Array) -> dict[str, Array]:
        """The arrays (R, …) by name, as views on flat (R, size)."""
        views, begin = {}, 0
        for name, start in self._starts.items():
            end = begin + int(np.prod(start.shape))
            views[name] = flat[:, begin:end].reshape(flat.shape[0], *start.shape)
            begin = end
        return views


@dataclass(frozen=True)
class Network:
    """A net for `inputs` features and `classes` classes."""

    layers: tuple[Layer, ...]
    inputs: int
    classes: int

    @property
    def learned(self) -> dict[str, Start]:
        """What gradient descent moves, by name."""
        return {name: start for layer in self.layers for name, start in layer.learned.items()}

    @property
    def statistics(self) -> dict[str, Start]:
        """Running statistics by name."""
        return {name: start for layer in self.layers for name, start in layer.statistics.items()}

    def random(self, rows: int) -> int:
        """How many random 16-bit words a step with this many rows takes for each replicate."""
        return sum(words((1, rows, layer.random)) for layer in self.layers)

    def write(self, tape: Tape, x: Array) -> tuple[Array, Backward]:
        """Writes the forward pass from x (R or 1, N, D) to the scores (R, K, N)."""
        backwards = []
        for layer in self.layers:
            x, backward = layer.write(tape, x)
            backwards.append(backward)

        def backward_all(dz: Array) -> Array:
            dy = dz.swapaxes(1, 2)
            for each in reversed(backwards):
                dy = each(dy)
            return dy

        return x.swapaxes(1, 2), backward_all


def network(model: Model, *, inputs: int, classes: int) -> Network:
    """The net that `model` describes; the arrays of block i have names like `i.weight`."""
    layers: list[Layer] = []
    norm, act = model.batch_norm, model.activation
    width = inputs
    for index, units in enumerate(model.hidden):
        name = str(index)
        bias = norm.name != "before"  # β makes it redundant
        first = index == 0
        layers.append(
            dense(name, width, units, init=model.init, activation=act, bias=bias, first=first)
        )
        if norm.name == "before":
            layers.append(batch_norm(name, norm, units * pieces(act)))
        layers.append(activate(name, act, units))
        if norm.name == "after":
            layers.append(batch_norm(name, norm, units))
        if model.dropout > 0:
            layers.append(dropout(units, model.dropout))
        width = units
    linear, first = Technique("identity"), not model.hidden
    name = str(len(model.hidden))
    layers.append(
        dense(name, width, classes, init=model.init, activation=linear, first=first, last=True)
    )
    return Network(tuple(layers), inputs, classes)
