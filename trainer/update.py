"""The update: all that happens to the parameters once a step has their gradient.

In this order: the gradient is clipped, L2's part is added, the optimiser moves the parameters, L1
pulls weights to 0, and max-norm limits them. Everything acts on each replicate for itself.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trainer.arrays import Array
from trainer.config import Training
from trainer.network import Layout, Network
from trainer.optimisers import OPTIMISERS, Pace, Piece, clipped
from trainer.schedules import PLATEAU
from trainer.tape import Tape

PIECE = 1 << 14
"""Numbers of each array that the optimiser works on at a time, so that they stay in the cache."""


class Update:
    """The update's operations, and the scalars in them that change from step to step.

    `scalars` are those of the step at hand, `table` their values step by step once `begin` is done.

    Args:
        tape: where it is written.
        net: says which parameters are weights.
        training: what is to be done.
        arrays: `parameters` and the optimiser's slots (R, P), moved in place.
        gradient: (R, P); clipping and L2 change it in place.
        whole: whether the parameters are worked on at once rather than in pieces.
    """

    def __init__(
        self,
        tape: Tape,
        net: Network,
        training: Training,
        arrays: Mapping[str, Array],
        gradient: Array,
        *,
        whole: bool,
    ) -> None:
        self._tape, self._training = tape, training
        self._optimiser = OPTIMISERS[training.optimizer.name]
        self._arrays, self._gradient = arrays, gradient
        self._weights = Layout(net.weights)
        self._whole = whole
        self._replicates, self._size = gradient.shape
        differ = training.schedule.name == PLATEAU and self._replicates > 1
        self._apart = self._optimiser.apart or training.l1 > 0 or training.l2 > 0
        self._rowwise = self._replicates > 1 and (
            differ or self._apart or training.clip_norm is not None
        )
        # an array without axes for all replicates, else a column
        self._column = (self._replicates, 1) if self._rowwise else ()
        shape = (self._replicates, 1) if differ else ()
        first = self._values(np.ones((1, self._replicates if differ else 1)), 1)
        self.scalars = [tape.xp.zeros(shape if v.shape[1] > 1 else (), tape.dtype) for v in first]
        self.table: list[Any] = []
        self._write()

    def begin(self, factors: Array, step: int) -> None:
        """Reckons the scalars of steps to come.

        Args:
            factors: of the learning rate, step by step: (n, 1), or (n, R) on a plateau.
            step: the number of the first of them, from 1.
        """
        values = self._values(factors, step)
        self.table = [
            each[:, :, None] if scalar.ndim else each[:, 0].tolist()
            for each, scalar in zip(values, self.scalars, strict=True)
        ]

    def set(self, index: int) -> None:
        """Sets the scalars for the step of this index among those."""
        for scalar, values in zip(self.scalars, self.table, strict=True):
            scalar[...] = values[index]

    def _values(self, factors: Array, step: int) -> tuple[Array, ...]:
        """The optimiser's scalars, and with L1 its threshold ηλ."""
        steps = np.arange(step, step + len(factors), dtype=float)[:, None]
        pace = Pace(self._training.learning_rate, factors, steps)
        found = self._optimiser.scalars(self._training.optimizer, pace)
        return (*found, pace.rates * self._training.l1) if self._training.l1 else found

    def _write(self) -> None:
        training, tape, xp = self._training, self._tape, self._tape.xp
        if training.clip_value is not None:
            for piece in self._pieces():
                clipped(tape, piece.gradient, training.clip_value, out=piece.gradient)
        shrink = None if training.clip_norm is None else self._shrink(training.clip_norm)
        own = self.scalars[:-1] if training.l1 else self.scalars
        for piece in self._pieces():
            scratch = piece.scratch[0]
            if shrink is not None:
                tape.add(xp.multiply, piece.gradient, shrink, out=piece.gradient)
            if training.l2 and piece.weights:
                tape.add(xp.multiply, piece.theta, tape.constant(training.l2), out=scratch)
                tape.add(xp.add, piece.gradient, scratch, out=piece.gradient)
            self._optimiser.write(tape, training.optimizer, piece, own)
            if training.l1 and piece.weights:
                self._soften(piece, self.scalars[-1])
        if training.max_norm is not None:
            self._limit(training.max_norm)

    def _shrink(self, limit: float) -> Array:
        """c/max(c, ‖g‖) of each replicate's whole gradient (Pascanu et al. 2013)."""
        tape, xp = self._tape, self._tape.xp
        rows, columns = self._gradient[:, None, :], self._gradient[:, :, None]
        factor = tape.empty((self._replicates, 1, 1))
        tape.add(xp.matmul, rows, columns, out=factor)
        self._cap(factor, limit)
        return factor.reshape(self._column)

    def _cap(self, squares: Array, limit: float) -> None:
        """Squares become c/max(c, √squares)."""
        tape, xp = self._tape, self._tape.xp
        tape.add(xp.sqrt, squares, out=squares)
        tape.add(xp.maximum, squares, tape.filled(squares.shape, limit), out=squares)
        tape.add(xp.divide, tape.constant(limit), squares, out=squares)

    def _soften(self, piece: Piece, threshold: Array) -> None:
        """L1's proximal step, w ← sgn(w)·max(0, |w| - ηλ), as w less its part within ±ηλ."""
        tape, xp, (low, within) = self._tape, self._tape.xp, piece.scratch
        tape.add(xp.negative, threshold, out=low)
        tape.add(xp.maximum, piece.theta, low, out=within)
        tape.add(xp.negative, low, out=low)
        tape.add(xp.minimum, within, low, out=within)
        tape.add(xp.subtract, piece.theta, within, out=piece.theta)

    def _limit(self, limit: float) -> None:
        """Rescales each unit's incoming weights to a norm of at most c (Srivastava et al. 2014)."""
        tape, xp = self._tape, self._tape.xp
        views = self._weights.views(self._arrays["parameters"]).values()
        largest = max(view.size for view in views)
        scratch = tape.empty((largest,))
        for weight in views:
            squares = scratch[: weight.size].reshape(weight.shape)
            norms = tape.empty((weight.shape[0], 1, weight.shape[2]))
            tape.add(xp.multiply, weight, weight, out=squares)
            tape.add(xp.matmul, tape.filled((1, 1, weight.shape[1]), 1.0), squares, out=norms)
            self._cap(norms, limit)
            tape.add(xp.multiply, weight, norms, out=weight)

    def _pieces(self) -> Iterator[Piece]:
        """Stretches of the parameters, those of all replicates together; weights perhaps apart."""
        rows = self._replicates if self._rowwise else 1
        size = self._size if self._rowwise else self._size * self._replicates
        border = self._weights.size if self._apart else size
        flat = {
            name: array if self._rowwise else array.reshape(-1)
            for name, array in (*self._arrays.items(), ("gradient", self._gradient))
        }
        for begin, end in ((0, border), (border, size)):
            length = end - begin if self._whole else min(max(1, PIECE // rows), end - begin)
            scratch = [self._tape.empty((rows * length,)) for _ in range(2)]
            for start in range(begin, end, length or 1):
                cut = slice(start, min(start + length, end))
                kept = {name: flat[name][..., cut] for name in self._optimiser.slots}
                theta = flat["parameters"][..., cut]
                first, second = (each[: theta.size].reshape(theta.shape) for each in scratch)
                weights = self._apart and begin == 0
                gradient = flat["gradient"][..., cut]
                yield Piece(theta, gradient, kept, (first, second), weights)
