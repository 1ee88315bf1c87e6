"""Pretraining on another task: whether two rows are of the same class (Géron 2017, ex. 11.10).

Both rows of a pair go through the same hidden layers; what comes out, side by side, goes through
one more hidden layer to one sigmoid. Only the hidden layers are kept. Batch norm and dropout are
left out of it.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from trainer.arrays import Array, Memory
from trainer.layers import activate, dense
from trainer.pretraining import COMMON, Adam, Hidden, Layer, sigmoid
from trainer.rules import Integer, Real, Setting, Technique
from trainer.tape import Backward, Tape, Variable

PAIRS = COMMON | {
    "units": Setting(10, Integer(1, 1_000_000), "units of the hidden layer on top of both rows"),
    "learning_rate": Setting(1e-3, Real(0.0, open_low=True), "of Adam"),
}


def pretrain(
    technique: Technique,
    hidden: Sequence[Hidden],
    layers: Sequence[Layer],
    x: Array,
    y: Array,
    generator: np.random.Generator,
) -> None:
    """Pretrains the hidden layers together, in place.

    Args:
        technique: its `PAIRS`.
        hidden: what each layer is like, the lowest first.
        layers: their arrays at their first values.
        x: training rows (n, D).
        y: their classes (n,).
        generator: its random stream.
    """
    size = min(len(x), int(technique["batch_size"]))
    init, activation = hidden[0].init, hidden[0].activation
    values = {
        f"{index}.{name}": array[None]
        for index, layer in enumerate(layers)
        for name, array in layer.items()
    }
    head, top, wide = str(len(layers)), str(len(layers) + 1), 2 * hidden[-1].units
    units = int(technique["units"])
    above = [
        dense(head, wide, units, init=init, activation=activation),
        activate(head, activation, units),
        dense(top, units, 1, init=init, activation=Technique("identity")),
    ]
    for part in above:
        for name, start in part.learned.items():
            values[name] = start.draw(generator)[None].astype(x.dtype)
    variables = {name: Variable(value, np.zeros_like(value)) for name, value in values.items()}
    tape = Tape(Memory(), variables=variables, running={}, training=True)
    batch = np.empty((1, 2 * size, x.shape[1]), x.dtype)  # the first rows, then their partners
    same = np.empty((1, size, 1), x.dtype)
    given, backwards = batch, list[Backward]()
    inputs = x.shape[1]
    for index, (each, layer) in enumerate(zip(hidden, layers, strict=True)):
        name = str(index)
        linear = dense(
            name,
            inputs,
            each.units,
            init=init,
            activation=activation,
            bias="bias" in layer,
            first=index == 0,
        )
        for part in (linear, activate(name, activation, each.units)):
            given, backward = part.write(tape, given)
            backwards.append(backward)
        inputs = each.units
    both = tape.empty((1, size, wide))
    tape.add(np.positive, given[:, :size], out=both[:, :, :inputs])
    tape.add(np.positive, given[:, size:], out=both[:, :, inputs:])
    upper, score = list[Backward](), both
    for part in above:
        score, backward = part.write(tape, score)
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
    tape.add(np.positive, by_both[:, :, :inputs], out=down[:, :size])
    tape.add(np.positive, by_both[:, :, inputs:], out=down[:, size:])
    for backward in reversed(backwards):
        down = backward(down)
    adam = Adam(variables, technique["learning_rate"])
    for first, second, equal in _pairs(technique, y, generator):
        x.take(first, axis=0, out=batch[0, :size])
        x.take(second, axis=0, out=batch[0, size:])
        same[0, :, 0] = equal
        tape.run()
        adam.step()


def _pairs(
    technique: Technique, y: Array, generator: np.random.Generator
) -> Iterator[tuple[Array, Array, Array]]:
    """The rows of each mini-batch, their partners, and whether they are of the same class.

    Every row comes first once an epoch; its partner is another row of its class in half of the
    cases, else a row of another class. A row without the one or the other takes what there is.
    """
    rows = len(y)
    size = min(rows, int(technique["batch_size"]))
    by_class = np.argsort(y, kind="stable")
    place = np.empty(rows, np.int64)
    place[by_class] = np.arange(rows)
    counts = np.bincount(y)
    begin = np.cumsum(counts) - counts
    for _ in range(technique["epochs"]):
        order = generator.permutation(rows)
        for start in range(0, rows - size + 1, size):
            first = order[start : start + size]
            count, low = counts[y[first]], begin[y[first]]
            equal = ((generator.random(size) < 0.5) & (count > 1)) | (count == rows)
            within = (place[first] - low + 1 + generator.integers(np.maximum(count - 1, 1))) % count
            outside = (low + count + generator.integers(np.maximum(rows - count, 1))) % rows
            yield first, by_class[np.where(equal, low + within, outside)], equal
