"""One table of optimisers; each is held against its formula restated, and against two problems."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from trainer.arrays import Array, Memory
from trainer.config import Config
from trainer.optimisers import OPTIMISERS, Pace, Piece, slots
from trainer.reading import check
from trainer.tape import Tape, Variable

Gradient = Callable[[Array], Array]

AHEAD = 1000
"""Steps whose scalars are reckoned at once."""


class Course:
    """An optimiser on its own, with its parameters θ, all of them weights, and their gradient."""

    def __init__(self, optimizer: Any, start: Array, rate: float = 1.0) -> None:
        self._technique = check(Config, {"training": {"optimizer": optimizer}}).training.optimizer
        self._entry, self._rate = OPTIMISERS[self._technique.name], rate
        self.theta, self._gradient = start.copy(), np.zeros_like(start)
        self._scalars = [np.zeros(()) for _ in self._values(0)]
        kept = slots(self._technique, rate, start[None], start.size)
        variables = {"": Variable(self.theta[None], self._gradient)}
        self.tape = Tape(Memory(), variables=variables, running={}, training=True)
        scratch = np.zeros_like(start), np.zeros_like(start)
        flat = {name: slot[0] for name, slot in kept.items()}
        piece = Piece(self.theta, self._gradient, flat, scratch, weights=True)
        self._entry.write(self.tape, self._technique, piece, self._scalars)

    def _values(self, done: int) -> tuple[Array, ...]:
        """The scalars of the next steps."""
        pace = Pace(self._rate, np.ones((AHEAD, 1)), np.arange(done, done + AHEAD)[:, None] + 1.0)
        return self._entry.scalars(self._technique, pace)

    def run(self, gradient: Gradient) -> Iterator[Array]:
        """θ after each step."""
        for done in itertools.count():
            if done % AHEAD == 0:
                values = self._values(done)
            for scalar, value in zip(self._scalars, values, strict=True):
                scalar[...] = value[done % AHEAD, 0]
            self._gradient[:] = gradient(self.theta)
            self.tape.run()
            yield self.theta.copy()


def path(optimizer: Any, start: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    return Course(optimizer, start, rate).run(gradient)


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


def nesterov(theta: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    b = np.zeros_like(theta)
    while True:
        g = gradient(theta)
        b = 0.8 * b + g
        theta = theta - rate * (g + 0.8 * b)
        yield theta


def adagrad(theta: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    n = np.zeros_like(theta)
    while True:
        g = gradient(theta)
        n = n + g * g
        theta = theta - rate * g / (np.sqrt(n) + 1e-3)
        yield theta


def rmsprop(theta: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    v = np.zeros_like(theta)
    while True:
        g = gradient(theta)
        v = 0.7 * v + 0.3 * g * g
        theta = theta - rate * g / (np.sqrt(v) + 1e-3)
        yield theta


def adamw(theta: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    while True:
        g, t = gradient(theta), t + 1
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta = theta - rate * 0.1 * theta
        theta = theta - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        yield theta


def nadam(theta: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    m, v, t, product = np.zeros_like(theta), np.zeros_like(theta), 0, 1.0
    while True:
        g, t = gradient(theta), t + 1
        m, v = 0.7 * m + 0.3 * g, 0.95 * v + 0.05 * g * g
        mu, after = (0.7 * (1 - 0.5 * 0.96 ** (each * 0.01)) for each in (t, t + 1))
        product *= mu
        ahead = after * m / (1 - product * after) + (1 - mu) * g / (1 - product)
        theta = theta - rate * ahead / (np.sqrt(v / (1 - 0.95**t)) + 1e-3)
        yield theta


def ftrl(theta: Array, gradient: Gradient, rate: float) -> Iterator[Array]:
    """One number at a time, with branches as in the paper's algorithm."""
    l1, l2, beta = 0.4, 0.5, 0.2
    n = [0.2] * len(theta)
    z = [-w * ((beta + math.sqrt(0.2)) / rate + l2) - math.copysign(l1, w) for w in theta]
    while True:
        weights = []
        for i, (w, g) in enumerate(zip(theta.tolist(), gradient(theta).tolist(), strict=True)):
            sigma = (math.sqrt(n[i] + g * g) - math.sqrt(n[i])) / rate
            n[i], z[i] = n[i] + g * g, z[i] + g - sigma * w
            below = (beta + math.sqrt(n[i])) / rate + l2
            weights.append(0.0 if abs(z[i]) <= l1 else (math.copysign(l1, z[i]) - z[i]) / below)
        theta = np.array(weights)
        yield theta


FORMULAS: dict[str, tuple[Any, Any]] = {
    "sgd": ("sgd", sgd),
    "momentum": ({"momentum": {"momentum": 0.8}}, momentum),
    "nesterov": ({"nesterov": {"momentum": 0.8}}, nesterov),
    "adagrad": ({"adagrad": {"epsilon": 1e-3}}, adagrad),
    "rmsprop": ({"rmsprop": {"decay": 0.7, "epsilon": 1e-3}}, rmsprop),
    "adam": ({"adam": {"beta1": 0.7, "beta2": 0.95, "epsilon": 1e-3}}, adam),
    "adamw": ({"adamw": {"weight_decay": 0.1}}, adamw),
    "nadam": (
        {"nadam": {"beta1": 0.7, "beta2": 0.95, "epsilon": 1e-3, "momentum_decay": 0.01}},
        nadam,
    ),
    "ftrl": ({"ftrl": {"l1": 0.4, "l2": 0.5, "beta": 0.2, "initial": 0.2}}, ftrl),
}

RATES = {
    "sgd": (0.1, 1e-3),
    "momentum": (0.02, 2e-4),
    "nesterov": (0.02, 2e-4),
    "adagrad": (1.0, 0.5),
    "rmsprop": (1.2e-3, 1e-3),
    "adam": (0.1, 0.02),
    "adamw": (0.1, 0.02),
    "nadam": (0.1, 0.02),
    "ftrl": (1.0, 0.5),
}
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
    theta = after(2000, path(name, np.array([2.0, -1.0]), parabola, RATES[name][0]))
    np.testing.assert_allclose(theta, [0, 0], atol=1e-3)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_rosenbrock(name: str) -> None:
    quiet = {"adamw": {"weight_decay": 0}} if name == "adamw" else name
    theta = after(20_000, path(quiet, np.array([-1.0, 1.0]), rosenbrock, RATES[name][1]))
    assert math.dist(theta, (1.0, 1.0)) < 0.05


@pytest.mark.parametrize("l1", [0.0, 0.7])
def test_ftrl_starts_at_a_fixed_point(l1: float) -> None:
    start = np.array([0.3, -1.2, 0.0, 1e-6])
    ftrl = {"ftrl": {"l1": l1, "l2": 0.2, "beta": 0.1}}
    theta = after(10, path(ftrl, start, np.zeros_like, 0.05))
    np.testing.assert_allclose(theta, start, rtol=1e-12, atol=1e-16)


def test_ftrl_gives_true_zeros() -> None:
    """A weight that is drawn below 0 stops there, one that is drawn elsewhere gets there."""

    def gradient(theta: Array) -> Array:
        return np.array([theta[0] - 1, 0.2 if theta[1] > 0 else 0.0])

    theta = after(500, path({"ftrl": {"l1": 0.5}}, np.array([0.5, 0.5]), gradient, 0.1))
    assert theta[1] == 0
    assert 0.9 < theta[0] < 1.1
    theta = after(500, path({"ftrl": {"l1": 0.0}}, np.array([0.5, 0.5]), gradient, 0.1))
    assert theta[1] != 0
