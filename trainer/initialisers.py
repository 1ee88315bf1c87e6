"""Initial weights: one entry each in `INITIALISERS`. Biases start at 0, γ at 1, β at 0."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from trainer.arrays import Array
from trainer.rules import Real, Setting, Technique

LOGISTIC_LIKE = {"sigmoid", "identity"}
TANH_LIKE = {"tanh", "softsign"}


@dataclass(frozen=True)
class Fan:
    """What a scheme may look at.

    Attributes:
        inputs: numbers that a unit takes in: in a convolution all of a patch.
        outputs: units of the layer: in a convolution channels.
        activation: what follows.
        field: pixels of a kernel, each of which takes a number to another output.
    """

    inputs: int
    outputs: int
    activation: Technique
    field: int = 1

    @property
    def both(self) -> int:
        """Numbers that a unit takes in, and units that a number goes to."""
        return self.inputs + self.outputs * self.field


Draw = Callable[[np.random.Generator, Technique, Fan], Array]


@dataclass(frozen=True)
class Initialiser:
    """One scheme: draws a weight (inputs, outputs) in float64."""

    draw: Draw
    parameters: Mapping[str, Setting] = field(default_factory=dict)


def _normal(sigma: Callable[[Technique, Fan], float]) -> Draw:
    def draw(generator: np.random.Generator, technique: Technique, fan: Fan) -> Array:
        weights = generator.standard_normal((fan.inputs, fan.outputs))
        weights *= sigma(technique, fan)
        return weights

    return draw


def _uniform(sigma: Callable[[Technique, Fan], float]) -> Draw:
    """Uniform on (-r, r) with r = √3·σ, the same variance."""

    def draw(generator: np.random.Generator, technique: Technique, fan: Fan) -> Array:
        bound = math.sqrt(3) * sigma(technique, fan)
        return generator.uniform(-bound, bound, (fan.inputs, fan.outputs))

    return draw


def _orthogonal(generator: np.random.Generator, technique: Technique, fan: Fan) -> Array:
    """Gain × a random matrix with orthonormal rows or columns (Saxe et al. 2014)."""
    long, short = max(fan.inputs, fan.outputs), min(fan.inputs, fan.outputs)
    q, r = np.linalg.qr(generator.standard_normal((long, short)))
    q *= np.sign(np.diagonal(r))  # makes the distribution uniform (Mezzadri 2007)
    return float(technique["gain"]) * (q if fan.inputs >= fan.outputs else q.T)


def _lecun(_technique: Technique, fan: Fan) -> float:
    return math.sqrt(1 / fan.inputs)


def _xavier(_technique: Technique, fan: Fan) -> float:
    """Glorot and Bengio 2010."""
    return math.sqrt(2 / fan.both)


def _he(_technique: Technique, fan: Fan) -> float:
    """He et al. 2015, with the slope of a leaky ReLU or the first one of a PReLU."""
    parameter = {"leaky_relu": "alpha", "prelu": "initial"}.get(fan.activation.name)
    slope = fan.activation[parameter] if parameter else 0.0
    return math.sqrt(2 / ((1 + slope**2) * fan.inputs))


def _book(_technique: Technique, fan: Fan) -> float:
    """Géron, 1st ed., table 11-1; softsign counts as tanh, a linear output as the logistic."""
    sigma = math.sqrt(2 / fan.both)
    if fan.activation.name in LOGISTIC_LIKE:
        return sigma
    return 4 * sigma if fan.activation.name in TANH_LIKE else math.sqrt(2) * sigma


INITIALISERS: dict[str, Initialiser] = {
    "normal": Initialiser(
        _normal(lambda technique, _fan: float(technique["sigma"])),
        {"sigma": Setting(0.01, Real(0.0), "standard deviation")},
    ),
    "lecun_normal": Initialiser(_normal(_lecun)),
    "lecun_uniform": Initialiser(_uniform(_lecun)),
    "xavier_normal": Initialiser(_normal(_xavier)),
    "xavier_uniform": Initialiser(_uniform(_xavier)),
    "he_normal": Initialiser(_normal(_he)),
    "he_uniform": Initialiser(_uniform(_he)),
    "book_normal": Initialiser(_normal(_book)),
    "book_uniform": Initialiser(_uniform(_book)),
    "orthogonal": Initialiser(
        _orthogonal, {"gain": Setting(1.0, Real(0.0, open_low=True), "factor on the matrix")}
    ),
}
