"""Groups: replicates that train together, in one batched program."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer import kernels
from trainer.arrays import Array, Memory
from trainer.config import Training
from trainer.fusion import fuse
from trainer.losses import cross_entropy, score, targets
from trainer.network import Layout, Network
from trainer.optimisers import OPTIMISERS, Piece
from trainer.rules import Technique
from trainer.streams import Purpose, generator
from trainer.tape import Tape, Variable

PIECE = 1 << 14
"""Numbers of each array that the optimiser works on at a time, so that they stay in the cache."""

LAYER_SAVING, NUMBER_SAVING = 6e-6, 1.5e-9
"""Seconds that compiled loops save a step, for each layer and for each parameter: rough figures."""

FUSION_COST = 0.01
"""Seconds that must be saved to make up for reading the program and loading the loops."""

LOGGED = 32
"""Steps whose scores are added up at once, which is cheaper than step by step."""


@dataclass(frozen=True)
class Rows:
    """Training rows, one set for each replicate: x (n, D) and y (n,), the same n for all."""

    x: tuple[Array, ...]
    y: tuple[Array, ...]

    @property
    def count(self) -> int:
        """How many rows a replicate has."""
        return len(self.y[0])

    @functools.cached_property
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
        epochs: how many are to be trained, which decides whether compiled loops are worth while.
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
        epochs: int,
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
        saving = len(net.layers) * LAYER_SAVING + arrays["parameters"].size * NUMBER_SAVING
        self._fused = epochs * self.steps * saving > FUSION_COST and kernels.available()
        self._memory, self._update_memory = Memory(), Memory()
        self._scalars = [np.zeros((), dtype) for _ in range(count)]
        self._update = self._written_update()
        self._steps = self._written_steps(sizes)

    @property
    def weights(self) -> dict[str, Array]:
        """Parameters and running statistics (R, …) by name, as views on the arrays."""
        return self._values | self._running

    def train(self, epoch: int, rate: float) -> tuple[Array, Array]:
        """Trains one epoch, counted from 1, with this learning rate.

        Returns:
            The mean loss and accuracy over the epoch's batches, in training mode, (R,) each.
        """
        streams = [self._stream(each, Purpose.ORDER, epoch) for each in self._replicates]
        order = np.stack([stream.permutation(self.rows.count) for stream in streams])
        if self._words.size:
            streams = [self._stream(each, Purpose.DROPOUT, epoch) for each in self._replicates]
            self._streams = [stream.bit_generator for stream in streams]
        done, start = (epoch - 1) * self.steps, 0
        loss = np.zeros(len(self._replicates))
        correct = np.zeros(len(self._replicates))
        for step, count in self._steps:
            stop = start + count * step.rows
            index = step.begin(self.rows, order[:, start:stop])
            for slot in range(count):
                done += 1
                self._set(rate, done)
                step.run(self.rows, index, slot)
            losses, hits = step.score(count)
            loss += losses
            correct += hits
            start = stop
        return loss / self.rows.count, correct / self.rows.count

    def _stream(self, replicate: int, purpose: Purpose, epoch: int) -> np.random.Generator:
        return generator(seed=self._seed, purpose=purpose, replicate=replicate, epoch=epoch)

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
        update = self._tape(self._update_memory, 0)
        theta, gradient = self.arrays["parameters"].reshape(-1), self.gradient.reshape(-1)
        slots = {name: self.arrays[name].reshape(-1) for name in self._optimiser.slots}
        length = theta.size if self._fused else min(PIECE, theta.size)
        scratch = update.empty((length,))
        for start in range(0, theta.size, length):
            cut = slice(start, start + length)
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

    def _written_steps(self, sizes: list[int]) -> list[tuple["Step", int]]:
        """The epoch's steps in order, as runs of equal ones; steps of equal size are one object."""
        kept = Memory()
        made = {
            rows: Step(self, kept, rows, min(LOGGED, sizes.count(rows)))
            for rows in sorted(set(sizes), reverse=True)
        }
        runs = [(rows, len(list(run))) for rows, run in itertools.groupby(sizes)]
        return [
            (made[rows], min(LOGGED, count - start))
            for rows, count in runs
            for start in range(0, count, LOGGED)
        ]

    def write(self, rows: int, x: Array, target: Array, shifted: Array, sums: Array) -> Tape:
        """The program of a step on x (R, N, D); the rest as for `cross_entropy`."""
        tape = self._tape(self._memory, rows)
        scores, backward = self.net.write(tape, x)
        backward(cross_entropy(tape, scores, target, shifted, sums))
        self._follow(tape, rows)
        tape.operations += self._update.operations
        if self._fused:
            tape.operations = fuse(
                tape.operations,
                kernels.compiled,
                scratch=[*self._memory.blocks, *self._update_memory.blocks],
                filled=self._memory.constants,
            )
        return tape


class Step:
    """A training step with N rows for each replicate, and a log of what such steps have scored."""

    def __init__(self, group: Group, kept: Memory, rows: int, logged: int) -> None:
        self.rows = rows
        replicates, classes = len(group.gradient), group.net.classes
        dtype = group.gradient.dtype
        self._x = kept.get(0, (replicates, rows, group.net.inputs), dtype)
        self._target = kept.get(1, (replicates, classes, rows), dtype)
        self._shifted = kept.get(2, (replicates, classes, rows), dtype)
        self._sums = kept.get(3, (replicates, 1, rows), dtype)
        self._labels = kept.get(4, (replicates, logged, rows), np.int64)
        self._targets = kept.get(5, (replicates, logged, classes, rows), dtype)
        self._all_shifted = kept.get(6, (replicates, logged, classes, rows), dtype)
        self._all_sums = kept.get(7, (replicates, logged, 1, rows), dtype)
        self._tape = group.write(rows, self._x, self._target, self._shifted, self._sums)

    def begin(self, rows: Rows, order: Array) -> Array:
        """Looks up the labels of the steps to come, whose rows are order (R, steps·N).

        Returns:
            (steps, R, N): the same rows, step by step.
        """
        replicates = len(order)
        order = order.reshape(replicates, -1, self.rows)
        count = order.shape[1]
        labels = self._labels[:, :count]
        for replicate in range(replicates):
            np.take(rows.y[replicate], order[replicate], out=labels[replicate], mode="clip")
        targets(labels, 1 / self.rows, self._targets[:, :count])
        return np.ascontiguousarray(order.swapaxes(0, 1))

    def run(self, rows: Rows, index: Array, slot: int) -> None:
        """Runs one step on the rows index[slot] (R, N) and logs its scores."""
        if rows.shared:
            rows.x[0].take(index[slot], axis=0, out=self._x, mode="clip")
        else:
            for x, chosen, place in zip(rows.x, index[slot], self._x, strict=True):
                x.take(chosen, axis=0, out=place, mode="clip")
        np.copyto(self._target, self._targets[:, slot])
        self._tape.run()
        np.copyto(self._all_shifted[:, slot], self._shifted)
        np.copyto(self._all_sums[:, slot], self._sums)

    def score(self, count: int) -> tuple[Array, Array]:
        """The sum of the losses and the number of right answers in `count` steps, (R,) each."""
        logged = (self._labels, self._targets, self._all_shifted, self._all_sums)
        return score(*(each[:, :count] for each in logged))
