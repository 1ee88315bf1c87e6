"""Optimisers: one entry each in `OPTIMISERS`.

An optimiser writes its update of one piece of the parameters θ on a tape. The pieces are small
enough for the cache; all numbers that change from step to step are in `scalars`, which the caller
sets before the step. In the formulas η is the learning rate, g the gradient, t = 1, 2, … the step.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainer.arrays import Array
from trainer.rules import Real, Setting, Technique
from trainer.tape import Tape


@dataclass(frozen=True)
class Piece:
    """A stretch of the parameters and what belongs to it; `gradient` is only read.

    Attributes:
        theta: the parameters.
        gradient: the loss's by them.
        slots: what the optimiser keeps of them, by name.
        scratch: two arrays to work in.
        weights: whether these are weights, which alone are regularised; only told to optimisers
            that treat them `apart`.
    """

    theta: Array
    gradient: Array
    slots: Mapping[str, Array]
    scratch: tuple[Array, Array]
    weights: bool


@dataclass(frozen=True)
class Pace:
    """What the scalars of n steps depend on.

    Attributes:
        rate: the learning rate of the configuration.
        factors: what the schedule makes of it, step by step: (n, 1), or (n, R) where replicates
            differ.
        steps: t = 1, 2, … (n, 1), as floating point numbers.
    """

    rate: float
    factors: Array
    steps: Array

    @property
    def rates(self) -> Array:
        """η, step by step, as `factors`."""
        return self.rate * self.factors


Write = Callable[[Tape, Technique, Piece, Sequence[Array]], None]
Begin = Callable[[Technique, float, Array, int], Mapping[str, Array]]


@dataclass(frozen=True)
class Optimiser:
    """One optimiser.

    Attributes:
        write: writes the update of a piece, given the parameters, the piece and the scalars.
        scalars: the scalars of some steps, given the parameters and the pace; each (n, 1) or as
            the pace's factors.
        parameters: what a study may set.
        slots: names of the arrays that it keeps, each the size of the parameters, at first 0.
        apart: whether weights are treated otherwise than biases and the like.
        begin: the slots that start with something else, given the parameters, the learning rate,
            θ (R, P) and how many of its columns, the first ones, are weights.
    """

    write: Write
    scalars: Callable[[Technique, Pace], tuple[Array, ...]]
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    slots: tuple[str, ...] = ()
    apart: bool = False
    begin: Begin = lambda _technique, _rate, _theta, _weights: {}


def slots(technique: Technique, rate: float, theta: Array, weights: int) -> dict[str, Array]:
    """The first values (R, P) of what an optimiser keeps; the arguments as for `begin`."""
    entry = OPTIMISERS[technique.name]
    zeros = {name: np.zeros_like(theta) for name in entry.slots}
    return zeros | dict(entry.begin(technique, rate, theta, weights))


def _rate(_technique: Technique, pace: Pace) -> tuple[Array, ...]:
    return (pace.rates,)


def _sgd(tape: Tape, _technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """θ ← θ - ηg."""
    (rate,), (t, _) = scalars, piece.scratch
    tape.add(tape.xp.multiply, piece.gradient, rate, out=t)
    tape.add(tape.xp.subtract, piece.theta, t, out=piece.theta)


def _momentum(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """B ← μb + g; θ ← θ - ηb (PyTorch's form)."""
    xp, b, (rate,), (t, _) = tape.xp, piece.slots["b"], scalars, piece.scratch
    tape.add(xp.multiply, b, tape.constant(technique["momentum"]), out=b)
    tape.add(xp.add, b, piece.gradient, out=b)
    tape.add(xp.multiply, b, rate, out=t)
    tape.add(xp.subtract, piece.theta, t, out=piece.theta)


def _nesterov(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """B ← μb + g; θ ← θ - η(g + μb) (PyTorch's form of Nesterov 1983)."""
    xp, b, (rate,), (t, _) = tape.xp, piece.slots["b"], scalars, piece.scratch
    decay = tape.constant(technique["momentum"])
    tape.add(xp.multiply, b, decay, out=b)
    tape.add(xp.add, b, piece.gradient, out=b)
    tape.add(xp.multiply, b, decay, out=t)
    tape.add(xp.add, t, piece.gradient, out=t)
    tape.add(xp.multiply, t, rate, out=t)
    tape.add(xp.subtract, piece.theta, t, out=piece.theta)


def _adagrad(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """N ← n + g²; θ ← θ - ηg/(√n + ε) (Duchi et al. 2011)."""
    xp, n, (t, _) = tape.xp, piece.slots["n"], piece.scratch
    tape.add(xp.multiply, piece.gradient, piece.gradient, out=t)
    tape.add(xp.add, n, t, out=n)
    _scaled(tape, technique, piece, n, scalars)


def _rmsprop(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """V ← ρv + (1-ρ)g²; θ ← θ - ηg/(√v + ε) (Hinton's lecture 6e, 2012)."""
    xp, v, (t, _) = tape.xp, piece.slots["v"], piece.scratch
    decay = technique["decay"]
    tape.add(xp.multiply, v, tape.constant(decay), out=v)
    tape.add(xp.multiply, piece.gradient, piece.gradient, out=t)
    tape.add(xp.multiply, t, tape.constant(1 - decay), out=t)
    tape.add(xp.add, v, t, out=v)
    _scaled(tape, technique, piece, v, scalars)


def _scaled(
    tape: Tape, technique: Technique, piece: Piece, squares: Array, scalars: Sequence[Array]
) -> None:
    """θ ← θ - ηg/(√squares + ε)."""
    xp, (rate,), (t, _) = tape.xp, scalars, piece.scratch
    tape.add(xp.sqrt, squares, out=t)
    tape.add(xp.add, t, tape.constant(technique["epsilon"]), out=t)
    tape.add(xp.divide, piece.gradient, t, out=t)
    tape.add(xp.multiply, t, rate, out=t)
    tape.add(xp.subtract, piece.theta, t, out=piece.theta)


def _adam(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """Kingma and Ba 2015, with sums in the place of means, which spares two passes.

    With m = (1-β₁)M and v = (1-β₂)V the update M ← β₁M + g; V ← β₂V + g²;
    θ ← θ - a·M/(√V + e) is Adam's own, for a and e as `_adam_scalars` has them.
    """
    xp, (rate, epsilon), (t, _) = tape.xp, scalars, piece.scratch
    m = piece.slots["m"]
    _moments(tape, technique, piece, epsilon)
    tape.add(xp.divide, m, t, out=t)
    tape.add(xp.multiply, t, rate, out=t)
    tape.add(xp.subtract, piece.theta, t, out=piece.theta)


def _moments(tape: Tape, technique: Technique, piece: Piece, epsilon: Array) -> None:
    """M ← β₁M + g; V ← β₂V + g²; leaves √V + e in the first scratch."""
    xp, m, v, (t, _) = tape.xp, piece.slots["m"], piece.slots["v"], piece.scratch
    tape.add(xp.multiply, m, tape.constant(technique["beta1"]), out=m)
    tape.add(xp.add, m, piece.gradient, out=m)
    tape.add(xp.multiply, v, tape.constant(technique["beta2"]), out=v)
    tape.add(xp.multiply, piece.gradient, piece.gradient, out=t)
    tape.add(xp.add, v, t, out=v)
    tape.add(xp.sqrt, v, out=t)
    tape.add(xp.add, t, epsilon, out=t)


def _root(technique: Technique, pace: Pace) -> Array:
    """√((1-β₂)/(1-β₂ᵗ)), by which √V is too large."""
    beta2 = technique["beta2"]
    return np.sqrt((1 - beta2) / (1 - beta2**pace.steps))  # type: ignore[no-any-return]


def _adam_scalars(technique: Technique, pace: Pace) -> tuple[Array, ...]:
    beta1, root = technique["beta1"], _root(technique, pace)
    whole = pace.rate * (1 - beta1)
    return whole * pace.factors / ((1 - beta1**pace.steps) * root), technique["epsilon"] / root


def _adamw(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """θ ← (1-ηλ)θ, then Adam (Loshchilov and Hutter 2019; PyTorch's form), for weights alone."""
    *own, decay = scalars
    if piece.weights:
        tape.add(tape.xp.multiply, piece.theta, decay, out=piece.theta)
    _adam(tape, technique, piece, own)


def _adamw_scalars(technique: Technique, pace: Pace) -> tuple[Array, ...]:
    decay = 1 - pace.rates * technique["weight_decay"]
    return *_adam_scalars(technique, pace), decay


def _nadam(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """Dozat 2016, with sums as in `_adam`: θ ← θ - (a·g + b·M)/(√V + e)."""
    xp, (rate, share, epsilon), (t, u) = tape.xp, scalars, piece.scratch
    _moments(tape, technique, piece, epsilon)
    for part, factor in ((piece.gradient, rate), (piece.slots["m"], share)):
        tape.add(xp.multiply, part, factor, out=u)
        tape.add(xp.divide, u, t, out=u)
        tape.add(xp.subtract, piece.theta, u, out=piece.theta)


def _nadam_scalars(technique: Technique, pace: Pace) -> tuple[Array, ...]:
    """With Πₜ = μ₁…μₜ: a = η(1-μₜ)/(1-Πₜ), b = η(1-β₁)μₜ₊₁/(1-Πₜ₊₁)."""
    beta1, root = technique["beta1"], _root(technique, pace)
    now = pace.steps.astype(int)
    mu, rest = _warming(beta1, technique["momentum_decay"], 1 << int(now[-1, 0] + 1).bit_length())
    rate = pace.rates * (1 - mu[now]) / (rest[now] * root)
    share = pace.rates * (1 - beta1) * mu[now + 1] / (rest[now + 1] * root)
    return rate, share, technique["epsilon"] / root


@functools.lru_cache(maxsize=4)
def _warming(beta1: float, decay: float, count: int) -> tuple[Array, Array]:
    """μₜ = β₁(1 - 0.96^(tψ)/2), the momentum of step t, and 1 - μ₁…μₜ, for t < count."""
    mu = beta1 * (1 - 0.96 ** (np.arange(count) * decay) / 2)
    return mu, 1 - np.concatenate([[1.0], np.cumprod(mu[1:])])


def _ftrl(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """Follow the regularised leader, proximal, by coordinate (McMahan et al. 2013).

    N' = n + g²; σ = (√n' - √n)/α; z ← z + g - σw; w = 0 if |z| ≤ λ₁, else
    (sgn(z)λ₁ - z)/((β + √n')/α + λ₂). Weights alone have λ₁ and λ₂; what is none follows the same
    with 0, which is AdaGrad. α is the learning rate; a schedule scales g in z, so that without λ
    the step is AdaGrad's at the scheduled rate.
    """
    xp, (factor, inverse), (t, u) = tape.xp, scalars, piece.scratch
    n, z, w, g = piece.slots["n"], piece.slots["z"], piece.theta, piece.gradient
    tape.add(xp.sqrt, n, out=u)
    tape.add(xp.multiply, g, g, out=t)
    tape.add(xp.add, n, t, out=n)
    tape.add(xp.sqrt, n, out=t)
    tape.add(xp.subtract, t, u, out=u)
    tape.add(xp.multiply, u, inverse, out=u)
    tape.add(xp.multiply, u, w, out=u)
    tape.add(xp.subtract, z, u, out=z)
    tape.add(xp.multiply, g, factor, out=u)
    tape.add(xp.add, z, u, out=z)
    tape.add(xp.add, t, tape.constant(technique["beta"]), out=t)
    tape.add(xp.multiply, t, inverse, out=t)
    if piece.weights:
        tape.add(xp.add, t, tape.constant(technique["l2"]), out=t)
        clipped(tape, z, technique["l1"], out=u)
        tape.add(xp.subtract, u, z, out=u)
    else:
        tape.add(xp.negative, z, out=u)
    tape.add(xp.divide, u, t, out=w)


def clipped(tape: Tape, x: Array, limit: float, out: Array) -> None:
    """Writes x clipped to [-limit, limit]."""
    tape.add(tape.xp.maximum, x, tape.filled(x.shape, -limit), out=out)
    tape.add(tape.xp.minimum, out, tape.filled(x.shape, limit), out=out)


def _ftrl_scalars(_technique: Technique, pace: Pace) -> tuple[Array, ...]:
    return pace.factors, np.full(pace.steps.shape, 1 / pace.rate)


def _ftrl_begin(
    technique: Technique, rate: float, theta: Array, weights: int
) -> Mapping[str, Array]:
    """Z₀ = -(w₀((β + √n₀)/α + λ₂) + sgn(w₀)λ₁), which makes w₀ a fixed point."""
    start = technique["initial"]
    z = -theta * (technique["beta"] + math.sqrt(start)) / rate
    w = theta[:, :weights]
    z[:, :weights] -= technique["l2"] * w + technique["l1"] * np.sign(w)
    return {"n": np.full_like(theta, start), "z": z.astype(theta.dtype)}


_DECAY = Real(0.0, 1.0, open_high=True)
_BEYOND = Real(0.0, open_low=True)
_MOMENTUM = {"momentum": Setting(0.9, _DECAY, "weight μ of the past")}
_ADAM = {
    "beta1": Setting(0.9, _DECAY, "weight of the past in the mean"),
    "beta2": Setting(0.999, _DECAY, "weight of the past in the mean square"),
    "epsilon": Setting(1e-8, _BEYOND, "added to the root"),
}

OPTIMISERS: dict[str, Optimiser] = {
    "sgd": Optimiser(_sgd, _rate),
    "momentum": Optimiser(_momentum, _rate, _MOMENTUM, ("b",)),
    "nesterov": Optimiser(_nesterov, _rate, _MOMENTUM, ("b",)),
    "adagrad": Optimiser(
        _adagrad, _rate, {"epsilon": Setting(1e-10, _BEYOND, "added to the root")}, ("n",)
    ),
    "rmsprop": Optimiser(
        _rmsprop,
        _rate,
        {
            "decay": Setting(0.9, _DECAY, "weight ρ of the past in the mean square"),
            "epsilon": Setting(1e-8, _BEYOND, "added to the root"),
        },
        ("v",),
    ),
    "adam": Optimiser(_adam, _adam_scalars, _ADAM, ("m", "v")),
    "adamw": Optimiser(
        _adamw,
        _adamw_scalars,
        _ADAM | {"weight_decay": Setting(0.01, Real(0.0), "λ: weights shrink by ηλ a step")},
        ("m", "v"),
        apart=True,
    ),
    "nadam": Optimiser(
        _nadam,
        _nadam_scalars,
        _ADAM | {"momentum_decay": Setting(4e-3, Real(0.0), "ψ: how fast the momentum warms up")},
        ("m", "v"),
    ),
    "ftrl": Optimiser(
        _ftrl,
        _ftrl_scalars,
        {
            "l1": Setting(0.0, Real(0.0), "λ₁: weights with |z| below it are 0"),
            "l2": Setting(0.0, Real(0.0), "λ₂: how strongly weights are drawn to 0"),
            "beta": Setting(0.0, Real(0.0), "added to the root"),
            "initial": Setting(0.1, _BEYOND, "first value of the sum of squares n"),
        },
        ("n", "z"),
        apart=True,
        begin=_ftrl_begin,
    ),
}
