"""An epoch whose rows, order, random words, scalars and scores stay on a device.

What differs from step to step is read from the device's memory by an index that the steps advance
themselves, so that a step is the same program every time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.arrays import Array, Memory
from trainer.device import Device
from trainer.selection import Features
from trainer.tape import Tape

GAMMA = 0x9E3779B97F4A7C15
"""The odd number of SplitMix64's counter: 2⁶⁴ divided by the golden ratio."""

MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None))
"""SplitMix64's finish: shifts, and what is multiplied by after them."""


class Resident:
    """What the steps of an epoch read and advance.

    Args:
        device: where.
        x: training rows (n, D) of each replicate, those of equal folds the same object.
        y: their labels (n,).
        dtype: the parameters' type.
        sizes: rows of each step of an epoch; only the last differs.
        words: random 64-bit words of each replicate that the largest step takes.
        scalars: what changes from step to step, in its place on the device.
    """

    def __init__(
        self,
        device: Device,
        x: Sequence[Features],
        y: Sequence[Array],
        dtype: Any,
        *,
        sizes: Sequence[int],
        words: int,
        scalars: Sequence[Array],
    ) -> None:
        self.device, self._sizes, self._scalars = device, sizes, scalars
        count, rows = len(x), len(y[0])
        self._kept = Memory(device)
        self._requests = 0
        self._x, folds = _together(device, x, dtype)
        self._y, _ = _together(device, y, np.int64)
        self._offset = np.array([[fold * rows] for fold in folds])
        self._order = device.zeros((count, rows), np.int64)
        self._step, self._start = device.zeros((1, 1), np.int64), device.zeros((1, 1), np.int64)
        self._keys = device.zeros((count, 1), np.uint64)
        self._words = device.zeros((count, words), np.uint64)
        self._tables = [
            device.zeros((len(sizes), *scalar.shape), scalar.dtype) for scalar in scalars
        ]
        self._totals = device.zeros((2, count, max(sizes)), np.float64)

    @property
    def bits(self) -> Array | None:
        """The random 16-bit words (R, words) of the step, if it takes any."""
        return self._words.view(np.uint16) if self._words.size else None

    def begin(self, order: Array, tables: Sequence[Array], keys: Array) -> None:
        """Puts an epoch's order (R, n), scalars (steps, …) and keys (R or 0,) on the device."""
        device = self.device
        device.copyto(self._order, device.asarray(order + self._offset))
        if keys.size:
            device.copyto(self._keys, device.asarray(keys[:, None]))
        for place, table in zip(self._tables, tables, strict=True):
            device.copyto(place, device.asarray(table, place.dtype).reshape(place.shape))
        self._step.fill(0)
        self._start.fill(0)
        self._totals.fill(0)

    def gather(self, tape: Tape, rows: int, words: int, x: Array, target: Array) -> Array:
        """Writes what comes before a step: its rows, targets, scalars and random words.

        Args:
            tape: where to write.
            rows: N, of each replicate.
            words: random 64-bit words of each replicate.
            x: receives the rows (R, N, D).
            target: receives y/N (R, K, N), see `losses.targets`.

        Returns:
            The labels (R, N).
        """
        xp, count = tape.xp, len(self._order)
        place, index = tape.empty((1, rows), np.int64), tape.empty((count, rows), np.int64)
        labels = tape.empty((count, rows), np.int64)
        tape.add(xp.add, self._start, xp.arange(rows)[None], out=place)
        tape.add(xp.take, self._order, place[0], axis=1, out=index)
        tape.add(xp.take, self._x, index, axis=0, out=x)
        tape.add(xp.take, self._y, index, axis=0, out=labels)
        one_hot(tape, labels, 1 / rows, target)
        for table, scalar in zip(self._tables, self._scalars, strict=True):
            tape.add(xp.take, table, self._step[0], axis=0, out=scalar[None])
        if words:
            self._draw(tape, words)
        return labels

    def _draw(self, tape: Tape, words: int) -> None:
        """SplitMix64 (Steele et al. 2014) from a key for each replicate, which moves on."""
        xp = tape.xp
        z, rest = self._words[:, :words], tape.empty((len(self._keys), words), np.uint64)
        ahead = np.arange(1, words + 1, dtype=np.uint64) * np.uint64(GAMMA)
        tape.add(xp.add, self._keys, xp.asarray(ahead[None]), out=z)
        for shift, factor in MIX:
            tape.add(xp.right_shift, z, xp.asarray(shift, np.uint64), out=rest)
            tape.add(xp.bitwise_xor, z, rest, out=z)
            if factor is not None:
                tape.add(xp.multiply, z, xp.asarray(factor, np.uint64), out=z)
        tape.add(xp.add, self._keys, xp.asarray(ahead[-1], np.uint64), out=self._keys)

    def tally(self, tape: Tape, labels: Array, target: Array, shifted: Array, sums: Array) -> None:
        """Writes what comes after a step: its scores are added up, and the step is counted."""
        xp, rows = tape.xp, labels.shape[1]
        add_up(tape, labels, target, shifted, sums, 1 / rows, self._totals[:, :, :rows])
        tape.add(xp.add, self._step, xp.asarray(1), out=self._step)
        tape.add(xp.add, self._start, xp.asarray(self._sizes[0]), out=self._start)

    def scores(self) -> tuple[Array, Array]:
        """The sum of the epoch's losses and its right answers, each (R,); waits for them."""
        loss, correct = self.device.host(self._totals.sum(axis=2))
        return loss, correct


def one_hot(tape: Tape, labels: Array, weight: float, target: Array) -> None:
    """Writes `losses.targets` on a tape: `weight` at the labels (R or 1, N), 0 elsewhere."""
    xp, found = tape.xp, tape.empty(target.shape, bool)
    classes = xp.arange(target.shape[1])[:, None]
    tape.add(xp.equal, labels[:, None, :], classes, out=found)
    tape.add(xp.copyto, target, found)
    tape.add(xp.multiply, target, tape.constant(weight), out=target)


def add_up(
    tape: Tape,
    labels: Array,
    target: Array,
    shifted: Array,
    sums: Array,
    weight: float,
    totals: Array,
) -> None:
    """Writes `losses.score` on a tape, row by row of the batch.

    Args:
        tape: where to write, after `losses.exponentials`.
        labels: (R or 1, N).
        target: (R or 1, K, N), see `losses.targets`.
        shifted: (R, K, N).
        sums: (R, 1, N), Σ e^(z - max z)/weight.
        weight: what the targets hold at the labels.
        totals: (2, R, N) in float64: cross-entropies and right answers are added to it.
    """
    xp, (replicates, classes, rows) = tape.xp, shifted.shape
    product, right = tape.empty(shifted.shape), tape.empty(sums.shape)
    loss = tape.empty(sums.shape)
    best, hit = tape.empty((replicates, rows), np.int64), tape.empty((replicates, rows), bool)
    tape.add(xp.multiply, shifted, target, out=product)
    tape.add(xp.matmul, tape.filled((1, 1, classes), 1 / weight), product, out=right)
    tape.add(xp.log, sums, out=loss)
    tape.add(xp.add, loss, tape.constant(np.log(weight)), out=loss)
    tape.add(xp.subtract, loss, right, out=loss)
    tape.add(xp.add, totals[0], loss[:, 0], out=totals[0])
    tape.add(xp.argmax, shifted, axis=1, out=best)
    tape.add(xp.equal, best, labels, out=hit)
    tape.add(xp.add, totals[1], hit, out=totals[1])


def _together(device: Device, arrays: Sequence[Features], dtype: Any) -> tuple[Array, list[int]]:
    """The different ones among the arrays one after the other, and which of them each is."""
    different = list({id(each): each for each in arrays}.values())
    place = {id(each): at for at, each in enumerate(different)}
    put = [device.data(each).astype(dtype, copy=False) for each in different]
    joined = put[0] if len(put) == 1 else device.concatenate(put)
    return joined, [place[id(each)] for each in arrays]
