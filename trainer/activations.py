"""Activations: one entry each in `ACTIVATIONS`.

An activation overwrites its input z (R, N, D) and returns its output and the `Backward` that turns
the gradient by the output into the gradient by z, in place. Where the derivative can be had from
the output y nothing else is kept.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trainer.arrays import Array
from trainer.rules import Choice, Integer, Real, Setting, Technique
from trainer.tape import Backward, Tape

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@dataclass(frozen=True)
class Activation:
    """One activation.

    Attributes:
        write: writes it on a tape, given its parameters, its input and the name of its layer.
        parameters: what a study may set.
        learned: shape and first value of each learned array, given parameters and width D.
    """

    write: Callable[[Tape, Technique, Array, str], tuple[Array, Backward]]
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    learned: Callable[[Technique, int], Mapping[str, tuple[tuple[int, ...], float]]] = (
        lambda _technique, _width: {}
    )


def pieces(technique: Technique) -> int:
    """How many linear pieces a unit has: one but for maxout."""
    return int(technique.parameters.get("pieces", 1))


def _scale(tape: Tape, dy: Array, derivative: Array) -> Array:
    tape.add(tape.xp.multiply, dy, derivative, out=dy)
    return dy


def _identity(_tape: Tape, _technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    return z, lambda dy: dy


def _sigmoid(tape: Tape, _technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    """1/(1+e^-z) as (1 + tanh(z/2))/2, which overflows for no z."""
    xp, one = tape.xp, tape.constant(1.0)
    _logistic(tape, z, z)

    def backward(dy: Array) -> Array:
        """The derivative is y(1-y)."""
        d = tape.empty(z.shape)
        tape.add(xp.subtract, one, z, out=d)
        tape.add(xp.multiply, d, z, out=d)
        return _scale(tape, dy, d)

    return z, backward


def _logistic(tape: Tape, z: Array, out: Array) -> None:
    xp, half = tape.xp, tape.constant(0.5)
    tape.add(xp.multiply, z, half, out=out)
    tape.add(xp.tanh, out, out=out)
    tape.add(xp.multiply, out, half, out=out)
    tape.add(xp.add, out, half, out=out)


def _tanh(tape: Tape, _technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    xp, one = tape.xp, tape.constant(1.0)
    tape.add(xp.tanh, z, out=z)

    def backward(dy: Array) -> Array:
        """The derivative is 1 - y²."""
        d = tape.empty(z.shape)
        tape.add(xp.multiply, z, z, out=d)
        tape.add(xp.subtract, one, d, out=d)
        return _scale(tape, dy, d)

    return z, backward


def _relu(tape: Tape, _technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    xp, zeros = tape.xp, tape.filled(z.shape, 0.0)
    tape.add(xp.maximum, z, zeros, out=z)

    def backward(dy: Array) -> Array:
        return _scale(tape, dy, tape.indicator(xp.greater, z, zeros))

    return z, backward


def _leaky_relu(tape: Tape, technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    xp, alpha = tape.xp, tape.constant(technique["alpha"])
    scaled = tape.empty(z.shape)
    tape.add(xp.multiply, z, alpha, out=scaled)
    tape.add(xp.maximum, z, scaled, out=z)

    def backward(dy: Array) -> Array:
        """The derivative is 1 where y > 0, else α; written as α + (1 - α)·[y > 0]."""
        rest = tape.constant(1.0 - technique["alpha"])
        d = tape.indicator(xp.greater, z, tape.filled(z.shape, 0.0))
        tape.add(xp.multiply, d, rest, out=d)
        tape.add(xp.add, d, alpha, out=d)
        return _scale(tape, dy, d)

    return z, backward


def _prelu(tape: Tape, technique: Technique, z: Array, name: str) -> tuple[Array, Backward]:
    """max(0, z) + a·min(0, z) with learned slopes a (He et al. 2015)."""
    xp, zero = tape.xp, tape.filled(z.shape, 0.0)
    slope = tape.variables[f"{name}.slope"]
    a = slope.value[:, None, :]
    below, scaled = tape.empty(z.shape), tape.empty(z.shape)
    tape.add(xp.minimum, z, zero, out=below)
    tape.add(xp.multiply, below, a, out=scaled)
    tape.add(xp.maximum, z, zero, out=z)
    tape.add(xp.add, z, scaled, out=z)

    def backward(dy: Array) -> Array:
        """∂/∂a = Σ dy·min(0, z); the derivative by z is 1 + (a - 1)·[z < 0]."""
        one, ones = tape.constant(1.0), tape.filled((1, 1, z.shape[1]), 1.0)
        d, less = tape.indicator(xp.less, below, zero), tape.empty(a.shape)
        tape.add(xp.multiply, below, dy, out=below)
        if technique["slopes"].name == "unit":
            tape.add(xp.matmul, ones, below, out=slope.gradient[:, None, :])
        else:
            sums = tape.empty((z.shape[0], 1, z.shape[2]))
            column = tape.filled((1, z.shape[2], 1), 1.0)
            tape.add(xp.matmul, ones, below, out=sums)
            tape.add(xp.matmul, sums, column, out=slope.gradient[:, None, :])
        tape.add(xp.subtract, a, one, out=less)
        tape.add(xp.multiply, d, less, out=d)
        tape.add(xp.add, d, one, out=d)
        return _scale(tape, dy, d)

    return z, backward


def _elu(tape: Tape, technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    return _exponential(tape, z, technique["alpha"], 1.0)


def _selu(tape: Tape, _technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    """Klambauer et al. 2017."""
    return _exponential(tape, z, SELU_ALPHA, SELU_SCALE)


def _exponential(tape: Tape, z: Array, alpha: float, scale: float) -> tuple[Array, Backward]:
    """scale·z for z > 0, scale·α(e^z - 1) else."""
    xp, zero = tape.xp, tape.filled(z.shape, 0.0)
    low = tape.constant(alpha * scale)
    below = tape.empty(z.shape)
    tape.add(xp.minimum, z, zero, out=below)
    tape.add(xp.exp, below, out=below)
    tape.add(xp.multiply, below, low, out=below)
    tape.add(xp.subtract, below, low, out=below)
    tape.add(xp.maximum, z, zero, out=z)
    if scale != 1.0:
        tape.add(xp.multiply, z, tape.constant(scale), out=z)
    tape.add(xp.add, z, below, out=z)

    def backward(dy: Array) -> Array:
        """The derivative is scale where y > 0, else y + scale·α: equal at 0 for the plain ELU."""
        tape.add(xp.add, below, low, out=below)
        if scale != alpha * scale:
            step = tape.indicator(xp.greater, z, zero)
            tape.add(xp.multiply, step, tape.constant(scale - alpha * scale), out=step)
            tape.add(xp.add, below, step, out=below)
        return _scale(tape, dy, below)

    return z, backward


def _maxout(tape: Tape, technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    """The largest of each unit's linear pieces (Goodfellow et al. 2013).

    z is (R, N, pieces·D), piece by piece. The gradient goes to the largest, the first of equals.
    """
    xp, count = tape.xp, technique["pieces"]
    replicates, rows, width = z.shape[0], z.shape[1], z.shape[2] // count
    parts = z.reshape(replicates, rows, count, width)
    y = tape.empty((replicates, rows, width))
    tape.add(xp.maximum, parts[:, :, 0], parts[:, :, 1], out=y)
    for piece in range(2, count):
        tape.add(xp.maximum, y, parts[:, :, piece], out=y)

    def backward(dy: Array) -> Array:
        """Where piece j is the largest yet unrouted, dz_j = dy; dy keeps what is not routed."""
        for piece in range(count):
            part = parts[:, :, piece]
            largest = tape.indicator(xp.equal, part, y)
            tape.add(xp.multiply, dy, largest, out=part)
            if piece + 1 < count:
                tape.add(xp.subtract, dy, part, out=dy)
        return z

    return y, backward


def _silu(tape: Tape, _technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    """z·s with the logistic s (also called swish)."""
    xp, one = tape.xp, tape.constant(1.0)
    s = tape.empty(z.shape)
    _logistic(tape, z, s)
    tape.add(xp.multiply, z, s, out=z)

    def backward(dy: Array) -> Array:
        """The derivative is s + y(1 - s)."""
        d = tape.empty(z.shape)
        tape.add(xp.subtract, one, s, out=d)
        tape.add(xp.multiply, d, z, out=d)
        tape.add(xp.add, d, s, out=d)
        return _scale(tape, dy, d)

    return z, backward


def _gelu(tape: Tape, _technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    """z/2·(1 + tanh(√(2/π)(z + 0.044715 z³))), Hendrycks and Gimpel's form without erf."""
    xp = tape.xp
    half, one = tape.constant(0.5), tape.constant(1.0)
    root, cubic = tape.constant(math.sqrt(2 / math.pi)), tape.constant(0.044715)
    t, square = tape.empty(z.shape), tape.empty(z.shape)
    tape.add(xp.multiply, z, z, out=square)
    tape.add(xp.multiply, square, cubic, out=square)
    tape.add(xp.add, square, one, out=t)
    tape.add(xp.multiply, t, z, out=t)
    tape.add(xp.multiply, t, root, out=t)
    tape.add(xp.tanh, t, out=t)
    y = tape.empty(z.shape)
    tape.add(xp.add, t, one, out=y)
    tape.add(xp.multiply, y, half, out=y)
    tape.add(xp.multiply, y, z, out=y)

    def backward(dy: Array) -> Array:
        """The derivative is (1 + t)/2 + z/2·(1 - t²)·√(2/π)(1 + 3·0.044715 z²)."""
        three, half_root = tape.constant(3.0), tape.constant(0.5 * math.sqrt(2 / math.pi))
        tape.add(xp.multiply, square, three, out=square)
        tape.add(xp.add, square, one, out=square)
        tape.add(xp.multiply, square, z, out=square)
        tape.add(xp.multiply, square, half_root, out=square)
        tape.add(xp.multiply, t, t, out=z)
        tape.add(xp.subtract, one, z, out=z)
        tape.add(xp.multiply, square, z, out=square)
        tape.add(xp.add, t, one, out=t)
        tape.add(xp.multiply, t, half, out=t)
        tape.add(xp.add, square, t, out=square)
        return _scale(tape, dy, square)

    return y, backward


def _softplus(tape: Tape, _technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    """log(1 + e^z) as max(0, z) + log(1 + e^-|z|)."""
    xp, zero = tape.xp, tape.filled(z.shape, 0.0)
    rest = tape.empty(z.shape)
    tape.add(xp.absolute, z, out=rest)
    tape.add(xp.negative, rest, out=rest)
    tape.add(xp.exp, rest, out=rest)
    tape.add(xp.log1p, rest, out=rest)
    tape.add(xp.maximum, z, zero, out=z)
    tape.add(xp.add, z, rest, out=z)

    def backward(dy: Array) -> Array:
        """The derivative, the logistic of z, is 1 - e^-y."""
        d = rest
        tape.add(xp.negative, z, out=d)
        tape.add(xp.expm1, d, out=d)
        tape.add(xp.negative, d, out=d)
        return _scale(tape, dy, d)

    return z, backward


def _softsign(tape: Tape, _technique: Technique, z: Array, _name: str) -> tuple[Array, Backward]:
    """z/(1 + |z|)."""
    xp, one = tape.xp, tape.constant(1.0)
    size = tape.empty(z.shape)
    tape.add(xp.absolute, z, out=size)
    tape.add(xp.add, size, one, out=size)
    tape.add(xp.divide, z, size, out=z)

    def backward(dy: Array) -> Array:
        """The derivative is 1/(1 + |z|)²."""
        tape.add(xp.multiply, size, size, out=size)
        tape.add(xp.divide, dy, size, out=dy)
        return dy

    return z, backward


def _slopes(technique: Technique, width: int) -> Mapping[str, tuple[tuple[int, ...], float]]:
    return {"slope": ((width if technique["slopes"].name == "unit" else 1,), technique["initial"])}


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(_sigmoid),
    "tanh": Activation(_tanh),
    "relu": Activation(_relu),
    "leaky_relu": Activation(
        _leaky_relu,
        {"alpha": Setting(0.01, Real(0.0, 1.0, open_high=True), "slope below 0")},
    ),
    "prelu": Activation(
        _prelu,
        {
            "initial": Setting(0.25, Real(), "first value of the learned slope below 0"),
            "slopes": Setting("unit", Choice({"unit": {}, "shared": {}}), "one slope for each"),
        },
        _slopes,
    ),
    "elu": Activation(
        _elu, {"alpha": Setting(1.0, Real(0.0, open_low=True), "minus the value at -∞")}
    ),
    "maxout": Activation(_maxout, {"pieces": Setting(2, Integer(2), "linear pieces of a unit")}),
    "selu": Activation(_selu),
    "gelu": Activation(_gelu),
    "silu": Activation(_silu),
    "softplus": Activation(_softplus),
    "softsign": Activation(_softsign),
    "identity": Activation(_identity),
}
