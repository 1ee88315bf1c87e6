"""Groups: replicates that train together, in one batched program."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer import kernels
from trainer.arrays import Array, Memory
from trainer.augmentation import Augmentation
from trainer.config import Training
from trainer.convolution import Image
from trainer.device import Device
from trainer.fusion import fuse
from trainer.losses import LOSSES
from trainer.network import Layout, Network
from trainer.resident import Resident
from trainer.rules import Technique
from trainer.selection import Features
from trainer.streams import Purpose, generator, key
from trainer.tape import Tape, Variable
from trainer.update import Update

LAYER_SAVING, NUMBER_SAVING = 6e-6, 1.5e-9
"""Seconds that compiled loops save a step, for each layer and for each parameter: rough figures."""

FUSION_COST = 0.01
"""Seconds that must be saved to make up for reading the program."""

LOGGED = 32
"""Steps whose scores are added up at once, which is cheaper than step by step."""


@dataclass(frozen=True)
class Rows:
    """Training rows, one set for each replicate, the same n for all.

    x (n, D), and labels y (n,) or numbers y (n, K) of variance 1.
    """

    x: tuple[Features, ...]
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
        image: the shape of a row, if it is an image.
        device: where the arrays are, if not in the host's memory.
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
        image: Image | None = None,
        device: Device | None = None,
    ) -> None:
        library = device or np
        self.net, self.rows, self.arrays = net, rows, arrays
        self._batch_norm, self.task = batch_norm, training.task
        self._loss = LOSSES[training.loss.name]
        if training.label_smoothing:
            self._loss = functools.partial(self._loss, smoothing=training.label_smoothing)
        self._replicates, self._seed = replicates, seed
        augment = training.augment
        self._augmentation = Augmentation(augment, image) if augment.any else None
        self._changing: list[np.random.Generator] = []
        self.gradient = library.zeros_like(arrays["parameters"])
        self._statistics = library.zeros_like(arrays["running"])
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
        saving = len(net.layers) * LAYER_SAVING + arrays["parameters"].size * NUMBER_SAVING
        saving *= epochs * self.steps
        self._fused = saving > FUSION_COST and kernels.worth(saving)
        self._memory, self._update_memory = Memory(library), Memory(library)
        self._resident: Resident | None = None
        update = self._tape(self._update_memory, 0)
        whole = self._fused or device is not None
        self._update = Update(update, net, training, arrays, self.gradient, whole=whole)
        self._updating = update.operations
        if device is None:
            self._steps = self._written_steps(sizes)
            return
        self._resident = Resident(
            device,
            rows.x,
            rows.y,
            self.gradient.dtype,
            sizes=sizes,
            words=self._words.shape[1],
            scalars=self._update.scalars,
        )
        self._programs = self._written_programs(device, sizes)
        self._drawn: tuple[int, Array, Array] | None = None

    @property
    def weights(self) -> dict[str, Array]:
        """Parameters and running statistics (R, …) by name, as views on the arrays."""
        return self._values | self._running

    def train(self, epoch: int, factors: Array) -> tuple[Array, Array]:
        """Trains one epoch.

        Args:
            epoch: counted from 1.
            factors: of the learning rate, step by step: (steps, 1), or (steps, R) on a plateau.

        Returns:
            The mean loss and the score over the epoch's batches, in training mode, (R,) each.
        """
        if self._resident is not None:
            return self._train_on(self._resident, epoch, factors)
        order = self._order(epoch)
        if self._words.size:
            streams = [self._stream(each, Purpose.DROPOUT, epoch) for each in self._replicates]
            self._streams = [stream.bit_generator for stream in streams]
        if self._augmentation is not None:
            purpose = Purpose.AUGMENTATION
            self._changing = [self._stream(each, purpose, epoch) for each in self._replicates]
        self._update.begin(factors, (epoch - 1) * self.steps + 1)
        done, start = 0, 0
        loss: Any = 0.0
        part: Any = 0.0
        for step, count in self._steps:
            stop = start + count * step.rows
            index = step.begin(self.rows, order[:, start:stop])
            for slot in range(count):
                self._update.set(done)
                step.gather(self.rows, index[slot])
                if self._augmentation is not None:
                    for x, generator in zip(step.x, self._changing, strict=True):
                        self._augmentation(x, generator)
                step.run(slot)
                done += 1
            losses, parts = step.score(count)
            loss, part = loss + losses, part + parts
            start = stop
        return loss / self.rows.count, self.task.share(part, self.rows.count)

    def _train_on(self, resident: Resident, epoch: int, factors: Array) -> tuple[Array, Array]:
        """An epoch on the device, which the host waits for at its end alone."""
        drawn = self._drawn
        if drawn is None or drawn[0] != epoch:
            drawn = self._draw(epoch)
        _, order, keys = drawn
        self._update.begin(factors, (epoch - 1) * self.steps + 1)
        resident.begin(order, self._update.table, keys)
        for program in self._programs:
            program()
        self._drawn = self._draw(epoch + 1)  # while the device works
        loss, correct = resident.scores()
        return loss / self.rows.count, correct / self.rows.count

    def _draw(self, epoch: int) -> tuple[int, Array, Array]:
        """The epoch, its order (R, n), and the keys (R,) of its random words on a device."""
        keys = [
            key(seed=self._seed, purpose=Purpose.DROPOUT, replicate=each, epoch=epoch)
            for each in self._replicates
            if self._words.size
        ]
        return epoch, self._order(epoch), np.array(keys, np.uint64)

    def _order(self, epoch: int) -> Array:
        """The order of the rows in an epoch (R, n)."""
        streams = [self._stream(each, Purpose.ORDER, epoch) for each in self._replicates]
        return np.stack([stream.permutation(self.rows.count) for stream in streams])

    def _stream(self, replicate: int, purpose: Purpose, epoch: int) -> np.random.Generator:
        return generator(seed=self._seed, purpose=purpose, replicate=replicate, epoch=epoch)

    def _tape(self, memory: Memory, rows: int) -> Tape:
        """A tape for a step with this many rows, with the drawing of its random words."""
        count = self.net.random(rows) // 4
        tape = Tape(
            memory,
            variables=self._variables,
            running=self._running,
            batch=self._batch,
            bits=self._words.view(np.uint16) if self._resident is None else self._resident.bits,
            training=True,
        )
        if count and self._resident is None:
            words = self._words

            def draw() -> None:
                for row, stream in zip(words, self._streams, strict=True):
                    row[:count] = stream.random_raw(count)

            tape.add(draw)
        return tape

    def _follow(self, tape: Tape, rows: int) -> None:
        """Moves the running statistics towards those of the batch, the variance unbiased."""
        if not self._statistics.size:
            return
        momentum = self._batch_norm["momentum"]
        weight = np.full((1, self._statistics.shape[1]), momentum, self._statistics.dtype)
        views = Layout(self.net.statistics).views(weight)
        for name in views:
            if name.endswith(".variance"):
                count = rows * self.net.statistics[name].pixels
                views[name] *= count / (count - 1)
        running, weight = self.arrays["running"], tape.xp.asarray(weight)
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

    def _written_programs(self, device: Device, sizes: list[int]) -> list[Callable[[], None]]:
        """The epoch's steps in order; those of equal size are one program."""
        kept = Memory(device)
        made = {}
        for rows in sorted(set(sizes), reverse=True):
            shape = (len(self.gradient), self.net.classes, rows)
            x = kept.get(0, (len(self.gradient), rows, self.net.inputs), self.gradient.dtype)
            target, shifted = (kept.get(each, shape, self.gradient.dtype) for each in (1, 2))
            sums = kept.get(3, (shape[0], 1, rows), self.gradient.dtype)
            tape = self.write(rows, x, target, (shifted, sums))
            made[rows] = device.program(tape.operations)
        return [made[rows] for rows in sizes]

    def write(self, rows: int, x: Array, target: Array, left: tuple[Array, ...]) -> Tape:
        """The program of a step on x (R, N, D), target (R, K, N); for `left` see `tasks.Task`."""
        tape, resident = self._tape(self._memory, rows), self._resident
        if resident is not None:
            labels = resident.gather(tape, rows, self.net.random(rows) // 4, x, target)
        scores, backward = self.net.write(tape, x)
        backward(self._loss(tape, scores, target, *left))
        if resident is not None:
            resident.tally(tape, labels, target, *left)
        self._follow(tape, rows)
        tape.operations += self._updating
        scratch = [*self._memory.blocks, *self._update_memory.blocks]
        filled = self._memory.constants | self._update_memory.constants
        if resident is not None:
            tape.operations = resident.device.fuse(tape.operations, scratch=scratch, filled=filled)
        elif self._fused:
            tape.operations = fuse(
                tape.operations, kernels.compiled, scratch=scratch, filled=filled
            )
        return tape


class Step:
    """A training step with N rows x (R, N, D), and a log of what such steps have scored."""

    def __init__(self, group: Group, kept: Memory, rows: int, logged: int) -> None:
        self.rows, self._task = rows, group.task
        replicates, outputs = len(group.gradient), group.net.classes
        dtype, y = group.gradient.dtype, group.rows.y[0]
        parts = group.task.left(outputs, rows)
        shapes = [
            *((replicates, *part) for part in ((rows, group.net.inputs), (outputs, rows), *parts)),
            *((replicates, logged, *part) for part in ((outputs, rows), *parts)),
        ]
        buffers = [kept.get(order, shape, dtype) for order, shape in enumerate(shapes)]
        self.x, self._target, *left = buffers[: 2 + len(parts)]
        self._targets, *self._logs = buffers[2 + len(parts) :]
        self._y = kept.get(len(shapes), (replicates, logged, rows, *y.shape[1:]), y.dtype)
        self._left = tuple(left)
        self._tape = group.write(rows, self.x, self._target, self._left)

    def begin(self, rows: Rows, order: Array) -> Array:
        """Looks up the targets of the steps to come, whose rows are order (R, steps·N).

        Returns:
            (steps, R, N): the same rows, step by step.
        """
        replicates = len(order)
        order = order.reshape(replicates, -1, self.rows)
        count = order.shape[1]
        y = self._y[:, :count]
        for replicate in range(replicates):
            np.take(rows.y[replicate], order[replicate], axis=0, out=y[replicate], mode="clip")
        self._task.fill(y, 1 / self.rows, self._targets[:, :count])
        return np.ascontiguousarray(order.swapaxes(0, 1))

    def gather(self, rows: Rows, index: Array) -> None:
        """Copies the rows index (R, N) into `x`."""
        if rows.shared:
            rows.x[0].take(index, axis=0, out=self.x, mode="clip")
        else:
            for x, chosen, place in zip(rows.x, index, self.x, strict=True):
                x.take(chosen, axis=0, out=place, mode="clip")

    def run(self, slot: int) -> None:
        """Runs one step on `x` and logs its scores."""
        np.copyto(self._target, self._targets[:, slot])
        self._tape.run()
        for log, left in zip(self._logs, self._left, strict=True):
            np.copyto(log[:, slot], left)

    def score(self, count: int) -> tuple[Array, Array]:
        """What adds up of `count` steps, see `tasks.Task.score`."""
        logs = tuple(each[:, :count] for each in self._logs)
        return self._task.score(self._y[:, :count], self._targets[:, :count], logs)
