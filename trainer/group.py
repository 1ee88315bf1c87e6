"""Groups: replicates that train together, in one batched program."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.arrays import Array, Memory
from trainer.config import Training
from trainer.losses import cross_entropy, score, targets
from trainer.network import Layout, Network
from trainer.optimisers import OPTIMISERS, Piece
from trainer.rules import Technique
from trainer.streams import Purpose, generator
from trainer.tape import Tape, Variable

PIECE = 1 << 14
"""Numbers of each array that the optimiser works on at a time, so that they stay in the cache."""

CHUNK = 1 << 18
"""Bytes of input rows gathered at a time: small batches are gathered several at once."""


@dataclass(frozen=True)
class Rows:
    """Training rows, one set for each replicate: x (n, D) and y (n,), the same n for all."""

    x: tuple[Array, ...]
    y: tuple[Array, ...]

    @property
    def count(self) -> int:
        """How many rows a replicate has."""
        return len(self.y[0])

    @property
    def shared(self) -> bool:
        """Whether all replicates have the same rows."""
        return all(x is self.x[0] for x in self.x)


def batches(rows: int, size: int) -> list[int]:
    """The sizes of an epoch's mini-batches; a last one of one row joins the one before it."""
    sizes = [size] * (rows // size)
    if rows % size == 1 and sizes:
        sizes[-1] += 1
    elif rows % size:
        sizes.append(rows % size)
    return sizes


class Group:
    """R replicates with all that their steps need, made once.

    Args:
        net: the net.
        training: how it is trained.
        batch_norm: the net's batch norm.
        rows: the training rows of each replicate.
        arrays: `parameters`, `running` and the optimiser's slots, (R, size) each, contiguous;
            moved in place.
        replicates: which replicates these are, for their random streams.
        seed: the study's seed.
    """

    def __init__(
        self,
        net: Network,
        training: Training,
        batch_norm: Technique,
        rows: Rows,
        arrays: Mapping[str, Array],
        *,
        replicates: Sequence[int],
        seed: int,
    ) -> None:
        self.net, self.rows, self.arrays = net, rows, arrays
        self._batch_norm, self._training = batch_norm, training
        self._replicates, self._seed = replicates, seed
        self.gradient = np.zeros_like(arrays["parameters"])
        self._statistics = np.zeros_like(arrays["running"])
        parameters = Layout(net.learned)
        self._values = parameters.views(arrays["parameters"])
        gradients = parameters.views(self.gradient)
        self._variables = {k: Variable(v, gradients[k]) for k, v in self._values.items()}
        self._running = Layout(net.statistics).views(arrays["running"])
        self._batch = Layout(net.statistics).views(self._statistics)
        sizes = batches(rows.count, training.batch_size)
        self.steps = len(sizes)
        self._words = np.empty((len(replicates), net.random(max(sizes)) // 4), np.uint64)
        self._streams: list[np.random.BitGenerator] = []
        self._optimiser = OPTIMISERS[training.optimizer.name]
        dtype = arrays["parameters"].dtype
        count = len(self._optimiser.scalars(training.optimizer, 1.0, 1))
        self._scalars = [np.zeros((), dtype) for _ in range(count)]
        self._update = self._written_update()
        self._chunks = self._made_chunks(sizes)

    @property
    def weights(self) -> dict[str, Array]:
        """Parameters and running statistics (R, …) by name, as views on the arrays."""
        return self._values | self._running

    def train(self, epoch: int, rate: float) -> tuple[Array, Array]:
        """Trains one epoch, counted from 1, with this learning rate.

        Returns:
            The mean loss and accuracy over the epoch's batches, in training mode, (R,) each.
        """
        order = np.stack([self._stream(each, Purpose.ORDER, epoch) for each in self._replicates])
        self._streams = [
            generator(
                seed=self._seed, purpose=Purpose.DROPOUT, replicate=each, epoch=epoch
            ).bit_generator
            for each in self._replicates
        ]
        step, start = (epoch - 1) * self.steps, 0
        loss = np.zeros(len(self._replicates))
        correct = np.zeros(len(self._replicates))
        for chunk in self._chunks:
            stop = start + chunk.slots * chunk.rows
            chunk.gather(self.rows, order[:, start:stop])
            for tape in chunk.tapes:
                step += 1
                self._set(rate, step)
                tape.run()
            losses, hits = chunk.score()
            loss += losses
            correct += hits
            start = stop
        return loss / self.rows.count, correct / self.rows.count

    def _stream(self, replicate: int, purpose: Purpose, epoch: int) -> Array:
        stream = generator(seed=self._seed, purpose=purpose, replicate=replicate, epoch=epoch)
        return stream.permutation(self.rows.count)

    def _set(self, rate: float, step: int) -> None:
        values = self._optimiser.scalars(self._training.optimizer, rate, step)
        for scalar, value in zip(self._scalars, values, strict=True):
            scalar[...] = value

    def _tape(self, memory: Memory, rows: int) -> Tape:
        """A tape for a step with this many rows, with the drawing of its random words."""
        count = self.net.random(rows) // 4
        tape = Tape(
            memory,
            variables=self._variables,
            running=self._running,
            batch=self._batch,
            bits=self._words.view(np.uint16),
            training=True,
        )
        if count:
            words = self._words

            def draw() -> None:
                for row, stream in zip(words, self._streams, strict=True):
                    row[:count] = stream.random_raw(count)

            tape.add(draw)
        return tape

    def _written_update(self) -> Tape:
        """The optimiser's part of every step, piece by piece."""
        update = self._tape(Memory(), 0)
        theta, gradient = self.arrays["parameters"].reshape(-1), self.gradient.reshape(-1)
        slots = {name: self.arrays[name].reshape(-1) for name in self._optimiser.slots}
        scratch = np.empty(min(PIECE, theta.size), theta.dtype)
        for start in range(0, theta.size, PIECE):
            cut = slice(start, start + PIECE)
            kept = {name: slot[cut] for name, slot in slots.items()}
            size = theta[cut].size
            piece = Piece(theta[cut], gradient[cut], kept, scratch[:size])
            self._optimiser.write(update, self._training.optimizer, piece, self._scalars)
        return update

    def _follow(self, tape: Tape, rows: int) -> None:
        """Moves the running statistics towards those of the batch, the variance unbiased."""
        if not self._statistics.size:
            return
        momentum = self._batch_norm["momentum"]
        weight = np.full((1, self._statistics.shape[1]), momentum, self._statistics.dtype)
        views = Layout(self.net.statistics).views(weight)
        for name in views:
            if name.endswith(".variance"):
                views[name] *= rows / (rows - 1)
        running = self.arrays["running"]
        tape.add(tape.xp.multiply, running, tape.constant(1 - momentum), out=running)
        tape.add(tape.xp.multiply, self._statistics, weight, out=self._statistics)
        tape.add(tape.xp.add, running, self._statistics, out=running)

    def _made_chunks(self, sizes: list[int]) -> list["Chunk"]:
        """The epoch's chunks in order; equal ones are one object."""
        row = self.rows.x[0].shape[1] * self.gradient.itemsize * len(self._replicates)
        made: dict[tuple[int, int], Chunk] = {}
        memory, kept = Memory(), Memory()
        plan = list(_chunked(sizes, row))
        for slots, rows in sorted(set(plan), key=lambda each: -each[0] * each[1]):
            made[slots, rows] = Chunk(self, memory, kept, slots, rows)
        return [made[each] for each in plan]


class Chunk:
    """Mini-batches of equal size that are gathered at once and scored at once."""

    def __init__(self, group: Group, memory: Memory, kept: Memory, slots: int, rows: int) -> None:
        self.slots, self.rows = slots, rows
        replicates, classes = len(group.gradient), group.net.classes
        dtype = group.gradient.dtype
        self._x = kept.get(0, (slots, replicates, rows, group.net.inputs), dtype)
        self._target = kept.get(1, (replicates, slots, classes, rows), dtype)
        self._shifted = kept.get(2, (replicates, slots, classes, rows), dtype)
        self._sums = kept.get(3, (replicates, slots, 1, rows), dtype)
        self._labels = kept.get(4, (replicates, slots, rows), np.int64)
        self.tapes = [self._written(group, memory, slot) for slot in range(slots)]

    def _written(self, group: Group, memory: Memory, slot: int) -> Tape:
        tape = group._tape(memory, self.rows)
        scores, backward = group.net.write(tape, self._x[slot])
        target, shifted, sums = (
            each[:, slot] for each in (self._target, self._shifted, self._sums)
        )
        backward(cross_entropy(tape, scores, target, shifted, sums))
        group._follow(tape, self.rows)
        tape.operations += group._update.operations
        return tape

    def gather(self, rows: Rows, order: Array) -> None:
        """Copies the rows order (R, slots·N) of each replicate into place."""
        replicates = len(order)
        order = order.reshape(replicates, self.slots, self.rows)
        for replicate in range(replicates):
            np.take(rows.y[replicate], order[replicate], out=self._labels[replicate], mode="clip")
        if rows.shared:
            index = order.swapaxes(0, 1)
            np.take(rows.x[0], index, axis=0, out=self._x, mode="clip")
        else:
            for replicate in range(replicates):
                place = self._x[:, replicate]
                np.take(rows.x[replicate], order[replicate], axis=0, out=place, mode="clip")
        targets(self._labels, 1 / self.rows, self._target)

    def score(self) -> tuple[Array, Array]:
        """The sum of the losses and the number of right answers in the chunk, (R,) each."""
        return score(self._labels, self._target, self._shifted, self._sums)


def _chunked(sizes: list[int], row: int) -> Iterator[tuple[int, int]]:
    """Runs of equal sizes as (slots, rows), at most `CHUNK` bytes of `row` bytes a row."""
    start = 0
    while start < len(sizes):
        rows = sizes[start]
        most = max(1, CHUNK // (rows * row))
        slots = 1
        while slots < most and start + slots < len(sizes) and sizes[start + slots] == rows:
            slots += 1
        yield slots, rows
        start += slots
