"""Descent in mini-batches as pretraining does it, on the arrays of one net."""

from collections.abc import Iterator, Mapping

import numpy as np

from trainer.arrays import Array
from trainer.rules import Integer, Setting, Technique
from trainer.tape import Variable

COMMON = {
    "epochs": Setting(5, Integer(1, 1_000_000), "passes over the training rows for each layer"),
    "batch_size": Setting(64, Integer(1), "rows in a mini-batch"),
}
"""What a study may set of every kind of pretraining."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Of Adam (Kingma and Ba 2015)."""


def batches(technique: Technique, rows: int, generator: np.random.Generator) -> Iterator[Array]:
    """The rows of each mini-batch of all epochs; what is over after the last whole one waits."""
    size = size_of(technique, rows)
    for _ in range(technique["epochs"]):
        order = generator.permutation(rows)
        for start in range(0, rows - size + 1, size):
            yield order[start : start + size]


def size_of(technique: Technique, rows: int) -> int:
    """How many rows a mini-batch has."""
    return min(rows, int(technique["batch_size"]))


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


def variable(value: Array) -> Variable:
    """A learned array (1, …) with a gradient of its own."""
    return Variable(value, np.zeros_like(value))


def sigmoid(z: Array) -> Array:
    """The logistic function."""
    odds: Array = 1 / (1 + np.exp(-z))
    return odds
