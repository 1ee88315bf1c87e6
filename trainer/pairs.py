"""Pretraining on another task: whether two rows are of the same class (Géron 2017, ex. 11.10).

Both rows of a pair go through the same hidden layers; what comes out, side by side, goes through
one more hidden layer to one sigmoid. Only the hidden layers are kept.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from trainer.arrays import Array, Memory
from trainer.block import Arrays, Block
from trainer.descent import Adam, batches, sigmoid, size_of, variable
from trainer.layers import activate, dense
from trainer.rules import Technique
from trainer.tape import Backward, Tape


def pairs(
    technique: Technique,
    blocks: Sequence[Block],
    arrays: Arrays,
    x: Array,
    y: Array,
    streams: Sequence[np.random.Generator],
) -> None:
    """Pretrains all blocks together, in place; see `block.Learn`. The first stream serves all."""
    generator, init, activation = streams[0], blocks[0].init, blocks[0].activation
    size, units = size_of(technique, len(x)), int(technique["units"])
    variables = {
        name: variable(array) for block in blocks for name, array in block.own(arrays).items()
    }
    tape = Tape(Memory(), variables=variables, running={}, training=True)
    batch = np.empty((1, 2 * size, x.shape[1]), x.dtype)  # the first rows, then their partners
    same = np.empty((1, size, 1), x.dtype)
    given, backwards = batch, list[Backward]()
    for layer in (layer for block in blocks for layer in block.layers):
        given, backward = layer.write(tape, given)
        backwards.append(backward)
    width = given.shape[2]
    both = tape.empty((1, size, 2 * width))
    tape.add(np.positive, given[:, :size], out=both[:, :, :width])
    tape.add(np.positive, given[:, size:], out=both[:, :, width:])
    above = [
        dense("pair", 2 * width, units, init=init, activation=activation),
        activate("pair", activation, units),
        dense("same", units, 1, init=init, activation=Technique("identity")),
    ]
    upper, score = list[Backward](), both
    for layer in above:
        for name, start in layer.learned.items():
            variables[name] = variable(start.draw(generator)[None].astype(x.dtype))
        score, backward = layer.write(tape, score)
        upper.append(backward)
    error = tape.empty(score.shape)

    def compare() -> None:
        """The gradient of the mean binary cross-entropy by the score."""
        np.divide(sigmoid(score) - same, size, out=error)

    tape.add(compare)
    by_both = error
    for backward in reversed(upper):
        by_both = backward(by_both)
    down = tape.empty(given.shape)
    tape.add(np.positive, by_both[:, :, :width], out=down[:, :size])
    tape.add(np.positive, by_both[:, :, width:], out=down[:, size:])
    for backward in reversed(backwards):
        down = backward(down)
    adam = Adam(variables, technique["learning_rate"])
    for first, second, equal in _drawn(technique, y, generator):
        x.take(first, axis=0, out=batch[0, :size])
        x.take(second, axis=0, out=batch[0, size:])
        same[0, :, 0] = equal
        tape.run()
        adam.step()


def _drawn(
    technique: Technique, y: Array, generator: np.random.Generator
) -> Iterator[tuple[Array, Array, Array]]:
    """The rows of each mini-batch, their partners, and whether they are of the same class.

    Every row comes first once an epoch; its partner is another row of its class in half of the
    cases, else a row of another class. A row without the one or the other takes what there is.
    """
    rows = len(y)
    by_class = np.argsort(y, kind="stable")
    place = np.empty(rows, np.int64)
    place[by_class] = np.arange(rows)
    counts = np.bincount(y)
    begin = np.cumsum(counts) - counts
    for first in batches(technique, rows, generator):
        count, low = counts[y[first]], begin[y[first]]
        equal = ((generator.random(len(first)) < 0.5) & (count > 1)) | (count == rows)
        within = (place[first] - low + 1 + generator.integers(np.maximum(count - 1, 1))) % count
        outside = (low + count + generator.integers(np.maximum(rows - count, 1))) % rows
        yield first, by_class[np.where(equal, low + within, outside)], equal
