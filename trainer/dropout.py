"""Dropout: what makes units unreliable in training; one entry each in `KINDS`.

A unit is kept when its random 16-bit word is at least rate·2¹⁶, rounded. Wherever the probability
of being kept is needed it is that of just this, so the expectations are exact.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trainer.arrays import Array
from trainer.layers import Layer
from trainer.rules import Real, Setting, Technique
from trainer.tape import Backward, Tape

LEVELS = 1 << 16
"""Values of a random 16-bit word."""


def _threshold(rate: float) -> int:
    return min(round(rate * LEVELS), LEVELS - 1)


def kept(rate: float) -> float:
    """The probability of being kept."""
    return 1 - _threshold(rate) / LEVELS


def inverted(
    _technique: Technique, units: int, rate: float, *, pixels: int = 1, first: bool = False
) -> Layer:
    """Keeps with probability 1 - rate and divides by it; the identity in prediction."""
    threshold = _threshold(rate)

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        if not tape.training or threshold == 0:
            return x, lambda dy: dy
        mask = _mask(tape, x.shape, threshold)
        tape.add(tape.xp.multiply, mask, tape.constant(1 / kept(rate)), out=mask)
        return _product(tape, x, mask, first=first)

    return Layer(write, random=units * pixels if threshold else 0)


def vanilla(
    _technique: Technique, units: int, rate: float, *, pixels: int = 1, first: bool = False
) -> Layer:
    """Keeps with probability 1 - rate; multiplies by it in prediction (Srivastava et al. 2014)."""
    threshold = _threshold(rate)

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        if threshold == 0:
            return x, lambda dy: dy
        if tape.training:
            return _product(tape, x, _mask(tape, x.shape, threshold), first=first)
        return _product(tape, x, tape.constant(kept(rate)), first=first)

    return Layer(write, random=units * pixels if threshold else 0)


def uout(
    technique: Technique, units: int, _rate: float, *, pixels: int = 1, first: bool = False
) -> Layer:
    """x·(1 + r) with r uniform on (-β, β); the identity in prediction (Li et al. 2018).

    r lies in the middle of one of 2¹⁶ equal intervals.
    """
    beta = technique["beta"]

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        if not tape.training:
            return x, lambda dy: dy
        xp, noise = tape.xp, tape.empty(x.shape)
        tape.add(xp.copyto, noise, tape.random_bits(x.shape))
        tape.add(xp.multiply, noise, tape.constant(2 * beta / LEVELS), out=noise)
        tape.add(xp.add, noise, tape.constant(1 + beta / LEVELS - beta), out=noise)
        return _product(tape, x, noise, first=first)

    return Layer(write, random=units * pixels)


def spatial(
    technique: Technique, units: int, rate: float, *, pixels: int = 1, first: bool = False
) -> Layer:
    """Inverted dropout of whole channels: one draw for all pixels of one (Tompson et al. 2015)."""
    threshold = _threshold(rate)
    if pixels == 1:
        return inverted(technique, units, rate, first=first)

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        if not tape.training or threshold == 0:
            return x, lambda dy: dy
        replicates, rows = x.shape[0], x.shape[1] // pixels
        mask = _mask(tape, (replicates, rows, 1, units), threshold)
        tape.add(tape.xp.multiply, mask, tape.constant(1 / kept(rate)), out=mask)
        shape = (replicates, rows, pixels, units)
        y, backward = _product(tape, x.reshape(shape), mask, first=first)
        return y.reshape(x.shape), lambda dy: backward(dy.reshape(shape)).reshape(x.shape)

    return Layer(write, random=units if threshold else 0)


def _mask(tape: Tape, shape: tuple[int, ...], threshold: int) -> Array:
    """1 for what is kept, else 0."""
    limit = tape.xp.asarray(threshold, tape.xp.uint16)
    return tape.indicator(tape.xp.greater_equal, tape.random_bits(shape), limit)


def _product(tape: Tape, x: Array, factor: Array, *, first: bool) -> tuple[Array, Backward]:
    """The factor times x in an array of its own, since x may be the data set."""
    y = tape.empty(x.shape)
    tape.add(tape.xp.multiply, x, factor, out=y)

    def backward(dy: Array) -> Array:
        if not first:
            tape.add(tape.xp.multiply, dy, factor, out=dy)
        return dy

    return y, backward


@dataclass(frozen=True)
class Kind:
    """One kind of dropout.

    Attributes:
        layer: the layer for so many units and a rate; `pixels` are the rows that an image has,
            and `first` says that nothing below wants the gradient by its input.
        parameters: what a study may set.
        always: whether it acts at rate 0 as well, having a strength of its own.
        noise: of a technique and a rate, the mean square of the factor on a unit in training over
            the square of its mean.
    """

    layer: Callable[..., Layer]
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    always: bool = False
    noise: Callable[[Technique, float], float] = lambda _technique, rate: 1 / kept(rate)


KINDS: dict[str, Kind] = {
    "inverted": Kind(inverted),
    "vanilla": Kind(vanilla),
    "spatial": Kind(spatial),
    "uout": Kind(
        uout,
        {"beta": Setting(0.1, Real(0.0, 1.0, open_low=True), "β: largest change, of 1")},
        always=True,
        noise=lambda technique, _rate: 1 + float(technique["beta"]) ** 2 / 3,
    ),
}
