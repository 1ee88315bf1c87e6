"""One table of optimisers; each is held against its formula restated, and against two problems."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from trainer.arrays import Array, Memory
from trainer.config import Config
from trainer.optimisers import OPTIMISERS, Piece
from trainer.rules import check
from trainer.tape import Tape, Variable

Gradient = Callable[[Array], Array]


class Course:
    """An optimiser on its own, with its parameters θ and their gradient."""

    def __init__(self, optimizer: Any, start: Array) -> None:
        self._technique = check(Config, {"training": {"optimizer": optimizer}}).training.optimizer
        self._entry = OPTIMISERS[self._technique.name]
        self.theta, self._gradient = start.copy(), np.zeros_like(start)
        self._scalars = [np.zeros(()) for _ in self._entry.scalars(self._technique, 1.0, 1)]
        slots = {name: np.zeros_like(start) for name in self._entry.slots}
        variables = {"": Variable(self.theta[None], self._gradient)}
        self.tape = Tape(Memory(), variables=variables, running={}, training=True)
        piece = Piece(self.theta, self._gradient, slots, np.zeros_like(start))
        self._entry.write(self.tape, self._technique, piece, self._scalars)

    def run(self, gradient: Gradient, rate: float) -> Iterator[Array]:
        """θ after each step."""
        for step in itertools.count(1):
            values = self._entry.scalars(self._technique, rate, step)
            for scalar, value in zip(self._scalars, values, strict=True):
                scalar[...] = value
            self._gradient[:] = gradient(self.theta)
            self.tape.run()
            yield self.theta.copy()


def path(optimizer: Any, start: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    return Course(optimizer, start).run(gradient, rate)


def sgd(theta: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    while True:
        theta = theta - rate * gradient(theta)
        yield theta


def momentum(theta: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    b = np.zeros_like(theta)
    while True:
        b = 0.8 * b + gradient(theta)
        theta = theta - rate * b
        yield theta


def adam(theta: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    while True:
        g, t = gradient(theta), t + 1
        m, v = 0.7 * m + 0.3 * g, 0.95 * v + 0.05 * g * g
        theta = theta - rate * (m / (1 - 0.7**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-3)
        yield theta


FORMULAS: dict[str, tuple[Any, Any]] = {
    "sgd": ("sgd", sgd),
    "momentum": ({"momentum": {"momentum": 0.8}}, momentum),
    "adam": ({"adam": {"beta1": 0.7, "beta2": 0.95, "epsilon": 1e-3}}, adam),
}

RATES = {"sgd": (0.1, 1e-3), "momentum": (0.02, 2e-4), "adam": (0.1, 0.02)}
"""Learning rates for the parabola and for Rosenbrock's valley."""


def parabola(theta: Array) -> Array:
    gradient: Array = np.array([1.0, 10.0]) * theta
    return gradient


def rosenbrock(theta: Array) -> Array:
    x, y = theta
    return np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])


def after(steps: int, thetas: Iterator[Array]) -> Array:
    for _ in range(steps - 1):
        next(thetas)
    return next(thetas)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_formula(name: str) -> None:
    written, formula = FORMULAS[name]
    start = np.array([0.3, -1.2])
    ours, theirs = path(written, start, rosenbrock, 1e-3), formula(start, rosenbrock, 1e-3)
    for _ in range(20):
        np.testing.assert_allclose(next(ours), next(theirs), rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_parabola(name: str) -> None:
    theta = after(1000, path(name, np.array([2.0, -1.0]), parabola, RATES[name][0]))
    np.testing.assert_allclose(theta, [0, 0], atol=1e-3)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_rosenbrock(name: str) -> None:
    theta = after(20_000, path(name, np.array([-1.0, 1.0]), rosenbrock, RATES[name][1]))
    assert math.dist(theta, (1.0, 1.0)) < 0.05
