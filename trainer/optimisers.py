"""Optimisers: one entry each in `OPTIMISERS`.

An optimiser writes its update of one piece of the parameters θ on a tape. The pieces are flat and
small enough for the cache; all numbers that change from step to step are in `scalars`, which the
caller sets before the step.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from trainer.arrays import Array
from trainer.rules import Real, Setting, Technique
from trainer.tape import Tape


@dataclass(frozen=True)
class Piece:
    """A flat stretch of the parameters and what belongs to it; `gradient` is only read."""

    theta: Array
    gradient: Array
    slots: Mapping[str, Array]
    scratch: Array


@dataclass(frozen=True)
class Optimiser:
    """One optimiser.

    Attributes:
        write: writes the update of a piece, given the parameters, the piece and the scalars.
        scalars: the scalars of step t = 1, 2, …, given the parameters, the learning rate and t.
        parameters: what a study may set.
        slots: names of the arrays that it keeps, each the size of the parameters, at first 0.
    """

    write: Callable[[Tape, Technique, Piece, Sequence[Array]], None]
    scalars: Callable[[Technique, float, int], tuple[float, ...]]
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    slots: tuple[str, ...] = ()


def _rate(_technique: Technique, rate: float, _step: int) -> tuple[float, ...]:
    return (rate,)


def _sgd(tape: Tape, _technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """θ ← θ - ηg."""
    (rate,) = scalars
    tape.add(tape.xp.multiply, piece.gradient, rate, out=piece.scratch)
    tape.add(tape.xp.subtract, piece.theta, piece.scratch, out=piece.theta)


def _momentum(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """B ← μb + g; θ ← θ - ηb (PyTorch's form)."""
    xp, b, (rate,) = tape.xp, piece.slots["b"], scalars
    tape.add(xp.multiply, b, tape.constant(technique["momentum"]), out=b)
    tape.add(xp.add, b, piece.gradient, out=b)
    tape.add(xp.multiply, b, rate, out=piece.scratch)
    tape.add(xp.subtract, piece.theta, piece.scratch, out=piece.theta)


def _adam(tape: Tape, technique: Technique, piece: Piece, scalars: Sequence[Array]) -> None:
    """Kingma and Ba 2015, with sums in the place of means, which spares two passes.

    With m = (1-β₁)M and v = (1-β₂)V the update M ← β₁M + g; V ← β₂V + g²;
    θ ← θ - a·M/(√V + e) is Adam's own, for a and e as `_adam_scalars` has them.
    """
    xp, (rate, epsilon) = tape.xp, scalars
    m, v, g, t = piece.slots["m"], piece.slots["v"], piece.gradient, piece.scratch
    tape.add(xp.multiply, m, tape.constant(technique["beta1"]), out=m)
    tape.add(xp.add, m, g, out=m)
    tape.add(xp.multiply, v, tape.constant(technique["beta2"]), out=v)
    tape.add(xp.multiply, g, g, out=t)
    tape.add(xp.add, v, t, out=v)
    tape.add(xp.sqrt, v, out=t)
    tape.add(xp.add, t, epsilon, out=t)
    tape.add(xp.divide, m, t, out=t)
    tape.add(xp.multiply, t, rate, out=t)
    tape.add(xp.subtract, piece.theta, t, out=piece.theta)


def _adam_scalars(technique: Technique, rate: float, step: int) -> tuple[float, ...]:
    beta1, beta2 = technique["beta1"], technique["beta2"]
    root = math.sqrt((1 - beta2) / (1 - beta2**step))
    return rate * (1 - beta1) / (1 - beta1**step) / root, technique["epsilon"] / root


_DECAY = Real(0.0, 1.0, open_high=True)

OPTIMISERS: dict[str, Optimiser] = {
    "sgd": Optimiser(_sgd, _rate),
    "momentum": Optimiser(
        _momentum, _rate, {"momentum": Setting(0.9, _DECAY, "weight μ of the past")}, ("b",)
    ),
    "adam": Optimiser(
        _adam,
        _adam_scalars,
        {
            "beta1": Setting(0.9, _DECAY, "weight of the past in the mean"),
            "beta2": Setting(0.999, _DECAY, "weight of the past in the mean square"),
            "epsilon": Setting(1e-8, Real(0.0, open_low=True), "added to the root"),
        },
        ("m", "v"),
    ),
}
