"""Pretraining without labels: first weights of hidden layers, found one layer after another.

Each layer learns from what the layer below makes of the training rows, which were not shown any
label; then the whole net is trained as ever (Hinton and Salakhutdinov 2006; Bengio et al. 2007). A
convolution learns from patches of its images, of which each is a row (Coates, Ng and Lee 2011).
"""

from collections.abc import Callable, Sequence

import numpy as np

from trainer.arrays import Array, Memory
from trainer.block import Arrays, Block, Learn
from trainer.descent import Adam, batches, sigmoid, size_of, variable
from trainer.layers import activate, dense
from trainer.rules import Technique
from trainer.tape import Tape

LearnLayer = Callable[[Technique, Block, Arrays, Array, np.random.Generator], None]
"""Moves the arrays of one block in place, given the rows (n, D_in) that its linear part sees."""


def layer_by_layer(learn: LearnLayer) -> Learn:
    """Pretrains the lowest block, then the next one on what that gives, and so on."""

    def pretrain(
        technique: Technique,
        blocks: Sequence[Block],
        arrays: Arrays,
        x: Array,
        _y: Array,
        streams: Sequence[np.random.Generator],
    ) -> None:
        for block, stream in zip(blocks, streams, strict=True):
            learn(technique, block, arrays, block.rows(x, stream), stream)
            x = block.through(arrays, x)

    return pretrain


def autoencoder(
    technique: Technique, block: Block, arrays: Arrays, x: Array, generator: np.random.Generator
) -> None:
    """Learns to give the rows back through a linear layer: ½‖x̂ - x‖² in the mean, with Adam."""
    inputs, size = x.shape[1], size_of(technique, len(x))
    name, init, activation = block.name, block.init, block.activation
    bias = f"{name}.bias" in arrays
    linear = Technique("identity")
    parts = [
        dense(name, inputs, block.units, init=init, activation=activation, bias=bias, first=True),
        activate(name, activation, block.units),
        dense("back", block.units, inputs, init=init, activation=linear),
    ]
    values = block.own(arrays)
    for part, start in parts[2].learned.items():
        values[part] = start.draw(generator)[None].astype(x.dtype)
    variables = {part: variable(value) for part, value in values.items()}
    tape = Tape(Memory(), variables=variables, running={}, training=True)
    batch = np.empty((1, size, inputs), x.dtype)
    given, backwards = batch, []
    for layer in parts:
        given, backward = layer.write(tape, given)
        backwards.append(backward)
    error = tape.empty(given.shape)
    tape.add(np.subtract, given, batch, out=error)
    tape.add(np.multiply, error, tape.constant(1 / size), out=error)
    for backward in reversed(backwards):
        error = backward(error)
    adam = Adam(variables, technique["learning_rate"])
    for rows in batches(technique, len(x), generator):
        x.take(rows, axis=0, out=batch[0])
        tape.run()
        adam.step()


def boltzmann_machine(
    technique: Technique, block: Block, arrays: Arrays, x: Array, generator: np.random.Generator
) -> None:
    """A restricted Boltzmann machine by contrastive divergence, one step (Hinton 2002).

    The hidden units are binary; the visible ones are binary where all rows lie in [0, 1], else
    Gaussian with variance 1. What is visible is given back as its mean.
    """
    weight = arrays[f"{block.name}.weight"]
    bias = arrays.get(f"{block.name}.bias", np.zeros(block.units, x.dtype))
    visible = np.zeros(x.shape[1], x.dtype)
    binary = bool((x >= 0).all() and (x <= 1).all())
    for rows in batches(technique, len(x), generator):
        rate = x.dtype.type(technique["learning_rate"] / len(rows))
        seen = x[rows]
        odds = sigmoid(seen @ weight + bias)
        drawn = (generator.random(odds.shape) < odds).astype(x.dtype)
        back = drawn @ weight.T + visible
        back = sigmoid(back) if binary else back
        again = sigmoid(back @ weight + bias)
        weight += rate * (seen.T @ odds - back.T @ again)
        bias += rate * (odds - again).sum(axis=0)
        visible += rate * (seen - back).sum(axis=0)
