"""Layers: what each one learns, and how it writes itself on a tape.

A layer is a frozen description; its arrays and buffers belong to the tape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trainer.activations import ACTIVATIONS, pieces
from trainer.arrays import Array, Memory
from trainer.initialisers import INITIALISERS, Fan
from trainer.rules import Technique
from trainer.selection import Features
from trainer.tape import Backward, Tape, Variable


@dataclass(frozen=True)
class Start:
    """An array of a layer, without the replicate axis: its shape and its first value (float64).

    `weight` says that it holds weights (…, D_in, D_out), which alone are regularised. `pixels` is
    how many numbers a row of the data gives to a running statistic.
    """

    shape: tuple[int, ...]
    draw: Callable[[np.random.Generator], Array]
    weight: bool = False
    pixels: int = 1


@dataclass(frozen=True)
class Layer:
    """A part of a net.

    Attributes:
        write: writes the forward pass on a tape, from x (R, N, D_in) to the output (R, N, D_out);
            in a layer of images the rows are their pixels.
        learned: what gradient descent moves, by name.
        statistics: running statistics by name.
        random: random 16-bit words that a step takes for each row.
    """

    write: Callable[[Tape, Array], tuple[Array, Backward]]
    learned: Mapping[str, Start] = field(default_factory=dict)
    statistics: Mapping[str, Start] = field(default_factory=dict)
    random: int = 0


def applied(layers: Sequence[Layer], arrays: Mapping[str, Array], x: Features, rows: int) -> Array:
    """What layers make of x (n, D) in prediction, `rows` rows at a time.

    Args:
        layers: one on top of the other.
        arrays: what they have learned and their running statistics, (1, …) by name.
        x: of the arrays' type, or to be brought to it.
        rows: how many are in memory at once; the bits depend on it.

    Returns:
        (n, …).
    """
    variables = {name: Variable(array, array) for name, array in arrays.items()}
    dtype = next(iter(arrays.values())).dtype
    memory, parts = Memory(), []
    for start in range(0, len(x), rows):
        tape = Tape(memory, variables=variables, running=arrays, training=False)
        given = np.asarray(x[start : start + rows], dtype)[None]
        for layer in layers:
            given, _ = layer.write(tape, given)
        tape.run()
        parts.append(given[0].copy())
    return np.concatenate(parts)


def constant(shape: tuple[int, ...], value: float) -> Start:
    """An array that starts with one number everywhere."""
    return Start(shape, lambda _generator: np.full(shape, value))


def dense(
    name: str,
    inputs: int,
    outputs: int,
    *,
    init: Technique,
    activation: Technique,
    bias: bool = True,
    first: bool = False,
    last: bool = False,
) -> Layer:
    """x·W + b with W (D_in, D_out) and b (D_out,), one GEMM for each replicate.

    Args:
        name: prefix of its arrays.
        inputs: D_in.
        outputs: units; the activation may ask for several linear pieces of each.
        init: how W is drawn, each piece for itself.
        activation: what follows, which some schemes look at.
        bias: whether there is a b.
        first: whether nothing below wants the gradient by x.
        last: whether the output is kept class by class (see `losses`).
    """
    count = pieces(activation)

    def draw(generator: np.random.Generator) -> Array:
        scheme, fan = INITIALISERS[init.name], Fan(inputs, outputs, activation)
        return np.concatenate([scheme.draw(generator, init, fan) for _ in range(count)], axis=1)

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        xp, replicates, rows = tape.xp, tape.replicates, x.shape[1]
        weight = tape.variables[f"{name}.weight"]
        width = weight.value.shape[2]
        if last:
            z = tape.empty((replicates, width, rows)).swapaxes(1, 2)
        else:
            z = tape.empty((replicates, rows, width))
        tape.add(xp.matmul, x, weight.value, out=z)
        if bias:
            shift = tape.variables[f"{name}.bias"]
            tape.add(xp.add, z, shift.value[:, None, :], out=z)

        def backward(dz: Array) -> Array:
            """DW = xᵀ·dz; db = Σ_N dz, a product with ones; dx = dz·Wᵀ."""
            tape.add(xp.matmul, x.swapaxes(1, 2), dz, out=weight.gradient)
            if bias:
                ones = tape.filled((1, 1, rows), 1.0)
                tape.add(xp.matmul, ones, dz, out=shift.gradient[:, None, :])
            if first:
                return dz
            dx = tape.empty((replicates, *x.shape[1:]))
            tape.add(xp.matmul, dz, weight.value.swapaxes(1, 2), out=dx)
            return dx

        return z, backward

    learned = {f"{name}.weight": Start((inputs, outputs * count), draw, weight=True)}
    if bias:
        learned[f"{name}.bias"] = constant((outputs * count,), 0.0)
    return Layer(write, learned)


def activate(name: str, technique: Technique, units: int) -> Layer:
    """An activation for this many units, in the memory of its input."""
    entry = ACTIVATIONS[technique.name]

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        active, backward = entry.write(tape, technique, x, name)
        tape.mark(f"{name}.active", active)
        return active, backward

    learned = entry.learned(technique, units)
    return Layer(write, {f"{name}.{part}": constant(*start) for part, start in learned.items()})


def batch_norm(name: str, technique: Technique, units: int, pixels: int = 1) -> Layer:
    """Batch normalisation (Ioffe and Szegedy 2015), with PyTorch's conventions.

    Of images with so many `pixels`, each of which is a row, it is BatchNorm2d.

    γ(x - μ)/√(v + ε) + β, with the mean μ and the biased variance v of the batch, in prediction
    the running ones. The tape only leaves the batch's statistics behind; the caller follows them.
    """

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        xp, rows = tape.xp, x.shape[1]
        tape.mark(f"{name}.entering", x)
        gamma, beta = (tape.variables[f"{name}.{part}"] for part in ("gamma", "beta"))
        source = tape.batch if tape.training else tape.running
        mean = source[f"{name}.mean"][:, None, :]
        variance = source[f"{name}.variance"][:, None, :]
        epsilon, one = tape.constant(technique["epsilon"]), tape.constant(1.0)
        share = tape.filled((1, 1, rows), 1 / rows)
        # y = (x - μ)·a + β with a = γ/√(v + ε): the normalised x itself is never needed
        centred, y = tape.empty(x.shape), tape.empty(x.shape)
        inverse = tape.empty(mean.shape)
        factor = tape.empty(mean.shape)
        if tape.training:
            tape.add(xp.matmul, share, x, out=mean)
        tape.add(xp.subtract, x, mean, out=centred)
        if tape.training:
            tape.add(xp.multiply, centred, centred, out=y)
            tape.add(xp.matmul, share, y, out=variance)
        tape.add(xp.add, variance, epsilon, out=inverse)
        tape.add(xp.sqrt, inverse, out=inverse)
        tape.add(xp.divide, one, inverse, out=inverse)
        tape.add(xp.multiply, inverse, gamma.value[:, None, :], out=factor)
        tape.add(xp.multiply, centred, factor, out=y)
        tape.add(xp.add, y, beta.value[:, None, :], out=y)

        def backward(dy: Array) -> Array:
            """dγ = Σ dy·x̂; dβ = Σ dy; dx = a·(dy - dβ/N - x̂·dγ/N), with x̂ = (x - μ)/√(v + ε)."""
            ones, minus = tape.filled((1, 1, rows), 1.0), tape.constant(-1 / rows)
            dgamma, dbeta = gamma.gradient[:, None, :], beta.gradient[:, None, :]
            product, slope, shift = (
                tape.empty(x.shape),
                tape.empty(mean.shape),
                tape.empty(mean.shape),
            )
            tape.add(xp.multiply, dy, centred, out=product)
            tape.add(xp.matmul, ones, product, out=dgamma)
            tape.add(xp.multiply, dgamma, inverse, out=dgamma)
            tape.add(xp.matmul, ones, dy, out=dbeta)
            tape.add(xp.multiply, dgamma, inverse, out=slope)
            tape.add(xp.multiply, slope, minus, out=slope)
            tape.add(xp.multiply, dbeta, minus, out=shift)
            tape.add(xp.multiply, centred, slope, out=centred)
            tape.add(xp.add, dy, centred, out=dy)
            tape.add(xp.add, dy, shift, out=dy)
            tape.add(xp.multiply, dy, factor, out=dy)
            return dy

        return y, backward

    return Layer(
        write,
        {f"{name}.gamma": constant((units,), 1.0), f"{name}.beta": constant((units,), 0.0)},
        {
            f"{name}.mean": replace(constant((units,), 0.0), pixels=pixels),
            f"{name}.variance": replace(constant((units,), 1.0), pixels=pixels),
        },
    )


def against_zero() -> Layer:
    """From one score (R, N, 1) to those of two classes (R, N, 2), of which the first has 0."""

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        replicates, rows, _ = x.shape
        scores = tape.empty((replicates, 2, rows)).swapaxes(1, 2)
        tape.add(tape.xp.copyto, scores[:, :, :1], tape.filled((replicates, rows, 1), 0.0))
        tape.add(tape.xp.copyto, scores[:, :, 1:], x)
        return scores, lambda dy: dy[:, :, 1:]

    return Layer(write)
