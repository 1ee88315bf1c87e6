"""Pretraining without labels: first weights of hidden layers, found one layer after another.

Each layer learns from what the layer below makes of the training rows, which were not shown any
label; then the whole net is trained as ever (Hinton and Salakhutdinov 2006; Bengio et al. 2007). A
replicate's pretraining depends on its own first weights, rows and random stream alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.arrays import Array, Memory
from trainer.layers import activate, applied, dense
from trainer.rules import Integer, Real, Setting, Technique
from trainer.tape import Tape, Variable

COMMON = {
    "epochs": Setting(5, Integer(1, 1_000_000), "passes over the training rows for each layer"),
    "batch_size": Setting(64, Integer(1), "rows in a mini-batch"),
}

ROWS = 512
"""Rows that a pretrained layer is applied to at once."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Of Adam (Kingma and Ba 2015)."""


@dataclass(frozen=True)
class Hidden:
    """A dense hidden layer to be pretrained: its units, its init and its activation."""

    units: int
    init: Technique
    activation: Technique


class Adam:
    """Adam (Kingma and Ba 2015) on variables, moved in place."""

    def __init__(self, variables: Mapping[str, Variable], learning_rate: float) -> None:
        self._learning_rate, self._step = learning_rate, 0
        self._moments = [
            (each, np.zeros_like(each.value), np.zeros_like(each.value))
            for each in variables.values()
        ]

    def step(self) -> None:
        """Moves the variables by their gradients."""
        self._step += 1
        bias_1, bias_2 = 1 - BETA_1**self._step, 1 - BETA_2**self._step
        rate = self._learning_rate * np.sqrt(bias_2) / bias_1
        for (value, gradient), mean, square in self._moments:
            np.add(mean, (1 - BETA_1) * (gradient - mean), out=mean)
            np.add(square, (1 - BETA_2) * (gradient * gradient - square), out=square)
            moved = (rate * mean / (np.sqrt(square) + EPSILON)).astype(value.dtype)
            np.subtract(value, moved, out=value)


Layer = dict[str, Array]
"""The arrays of a layer without the replicate axis: `weight`, perhaps `bias` and others."""

Learn = Callable[[Technique, Hidden, Layer, Array, np.random.Generator], None]
"""Moves a layer's arrays in place, given the rows (n, D) that enter it."""


def pretrain(
    technique: Technique, hidden: Hidden, layer: Layer, x: Array, generator: np.random.Generator
) -> Array:
    """Pretrains one layer in place.

    Args:
        technique: how, see `PRETRAINING`.
        hidden: what the layer is like.
        layer: its arrays at their first values.
        x: the rows (n, D) that enter it.
        generator: its random stream.

    Returns:
        (n, units): the rows as the next layer sees them.
    """
    PRETRAINING[technique.name].learn(technique, hidden, layer, x, generator)
    return _through(hidden, layer, x)


def _batches(technique: Technique, rows: int, generator: np.random.Generator) -> Iterator[Array]:
    """The rows of each mini-batch of all epochs; what is over after the last whole one waits."""
    size = min(rows, int(technique["batch_size"]))
    for _ in range(technique["epochs"]):
        order = generator.permutation(rows)
        for start in range(0, rows - size + 1, size):
            yield order[start : start + size]


def _autoencoder(
    technique: Technique, hidden: Hidden, layer: Layer, x: Array, generator: np.random.Generator
) -> None:
    """Learns to give the rows back through a linear layer: ½‖x̂ - x‖² in the mean, with Adam."""
    inputs, activation = x.shape[1], hidden.activation
    size = min(len(x), int(technique["batch_size"]))
    linear = Technique("identity")
    parts = [
        dense(
            "0",
            inputs,
            hidden.units,
            init=hidden.init,
            activation=activation,
            bias="bias" in layer,
            first=True,
        ),
        activate("0", activation, hidden.units),
        dense("1", hidden.units, inputs, init=hidden.init, activation=linear),
    ]
    values = {f"0.{name}": array[None] for name, array in layer.items()}
    for name, start in parts[2].learned.items():
        values[name] = start.draw(generator)[None].astype(x.dtype)
    variables = {name: Variable(value, np.zeros_like(value)) for name, value in values.items()}
    tape = Tape(Memory(), variables=variables, running={}, training=True)
    batch = np.empty((1, size, inputs), x.dtype)
    given, backwards = batch, []
    for part in parts:
        given, backward = part.write(tape, given)
        backwards.append(backward)
    error = tape.empty(given.shape)
    tape.add(np.subtract, given, batch, out=error)
    tape.add(np.multiply, error, tape.constant(1 / size), out=error)
    for backward in reversed(backwards):
        error = backward(error)
    adam = Adam(variables, technique["learning_rate"])
    for rows in _batches(technique, len(x), generator):
        x.take(rows, axis=0, out=batch[0])
        tape.run()
        adam.step()


def _rbm(
    technique: Technique, _hidden: Hidden, layer: Layer, x: Array, generator: np.random.Generator
) -> None:
    """A restricted Boltzmann machine by contrastive divergence, one step (Hinton 2002).

    The hidden units are binary; the visible ones are binary where all rows lie in [0, 1], else
    Gaussian with variance 1. What is visible is given back as its mean.
    """
    weight, bias = layer["weight"], layer.get("bias", np.zeros(layer["weight"].shape[1], x.dtype))
    visible = np.zeros(x.shape[1], x.dtype)
    binary = bool((x >= 0).all() and (x <= 1).all())
    for rows in _batches(technique, len(x), generator):
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


def sigmoid(z: Array) -> Array:
    """The logistic function."""
    odds: Array = 1 / (1 + np.exp(-z))
    return odds


def _through(hidden: Hidden, layer: Layer, x: Array) -> Array:
    """The rows after the layer."""
    linear = dense(
        "0",
        x.shape[1],
        hidden.units,
        init=hidden.init,
        activation=hidden.activation,
        bias="bias" in layer,
    )
    layers = [linear, activate("0", hidden.activation, hidden.units)]
    return applied(layers, {f"0.{name}": array[None] for name, array in layer.items()}, x, ROWS)


@dataclass(frozen=True)
class Pretraining:
    """One way to pretrain a layer.

    Attributes:
        learn: does it.
        parameters: what a study may set.
        activations: those that it is meant for; all if there are none.
    """

    learn: Learn
    parameters: Mapping[str, Setting]
    activations: tuple[str, ...] = ()


PRETRAINING: dict[str, Pretraining] = {
    "autoencoder": Pretraining(
        _autoencoder,
        COMMON | {"learning_rate": Setting(1e-3, Real(0.0, open_low=True), "of Adam")},
    ),
    "rbm": Pretraining(
        _rbm,
        COMMON | {"learning_rate": Setting(0.05, Real(0.0, open_low=True), "step size")},
        ("sigmoid",),
    ),
}
