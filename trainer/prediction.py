"""Prediction: what a net answers, and how it scores, from weights, in bounded memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.arrays import Array, Memory
from trainer.config import Config
from trainer.convolution import Image
from trainer.device import Device
from trainer.fusion import Operation
from trainer.network import Network, network
from trainer.resident import add_up, one_hot
from trainer.selection import Features, Selection, Stack
from trainer.tape import Tape, Variable
from trainer.tasks import CLASSIFICATION, Task

ROWS = 512
"""Rows predicted at once; the same for every number of replicates, so that bits agree."""

NUMBERS = 4 << 20
"""Of all images that are predicted at once, where they are largest."""


class Evaluation:
    """The loss and the score of a net on fixed rows, for as long as its arrays stay in place.

    Args:
        net: the net.
        weights: its parameters and running statistics (R, …) by name; read at every call.
        x: inputs (R or 1, n, D), of the weights' type, or on disk.
        y: labels (R or 1, n), or numbers (R or 1, n, K) of the weights' type.
        device: where all these arrays are, if not in the host's memory.
        task: what the net is for.

    Attributes:
        x: the inputs.
        y: the labels.
        marks: what the first rows leave in memory, see `Tape.mark`.
        look: called while they lie there, on the host alone.
    """

    def __init__(
        self,
        net: Network,
        weights: Mapping[str, Array],
        x: Array | Stack,
        y: Array,
        device: Device | None = None,
        task: Task = CLASSIFICATION,
    ) -> None:
        self.look: Callable[[], None] | None = None
        memory, kept, read = (Memory(device or np) for _ in range(3))
        self.x, self.y, self._replicates = x, y, len(next(iter(weights.values())))
        self._task, self._whole = task, task.whole(y)
        self._blocks: list[tuple[Tape, Array, Array, tuple[Array, ...]]] = []
        size = at_once(net)
        for start in range(0, x.shape[1], size):
            tape, given = _tape(memory, weights), y[:, start : start + size]
            if isinstance(x, Stack):
                shape = (x.shape[0], given.shape[1], x.shape[2])
                block = read.get(0, shape, tape.dtype)
                tape.add(x.read, start, start + shape[1], out=block)
            else:
                block = x[:, start : start + size]
            scores, _ = net.write(tape, block)
            scored = (net.classes, block.shape[1])
            target = kept.get(0, (len(given), *scored), tape.dtype)
            left = _left(task, kept, tape, scored, 1)
            task.write(tape, scores, target, left)
            self._blocks.append((tape, given, target, left))
        self.marks = self._blocks[0][0].marks
        self._device = device
        if device is not None:
            self._totals = device.zeros((2, self._replicates, min(ROWS, x.shape[1])))
            self._program = self._written(device, memory)

    def _written(self, device: Device, memory: Memory) -> Callable[[], None]:
        """All blocks with their scores as one program, which leaves the sums in `totals`."""
        operations: list[Operation] = []
        for tape, labels, target, (shifted, sums) in self._blocks:
            one_hot(tape, labels, 1.0, target)
            add_up(tape, labels, target, shifted, sums, 1.0, self._totals[:, :, : sums.shape[2]])
            operations += device.fuse(
                tape.operations, scratch=memory.blocks, filled=memory.constants
            )
        return device.program(operations)

    def __call__(self) -> tuple[Array, Array]:
        """The mean loss and the score, each (R,) in float64."""
        if self._device is not None:
            self._totals.fill(0)
            self._program()
            loss, correct = self._device.host(self._totals.sum(axis=2))
            return loss / self.y.shape[1], correct / self.y.shape[1]
        total: Any = 0.0
        part: Any = 0.0
        for tape, y, target, left in self._blocks:
            self._task.fill(y, 1.0, target)
            tape.run()
            if self.look is not None and tape is self._blocks[0][0]:
                self.look()
            losses, parts = self._task.score(y, target, left)
            total, part = total + losses, part + parts
        return total / self.y.shape[1], self._task.share(part, self._whole)

    def predict(self) -> None:
        """The prediction alone, for its time; on a device with its scores, which are fused in."""
        if self._device is not None:
            self()
            return
        for tape, *_ in self._blocks:
            tape.run()


def predict(config: Config, weights: Mapping[str, Array], x: Features) -> Array:
    """What a net answers (R, n, K) for the rows of x (n, D): class probabilities, or numbers.

    In the type of the last layer, see `targets.restored`.
    """
    net, task = network_of(config, weights), config.training.task
    weights, dtype = _typed(config, weights)
    memory, kept, size = Memory(), Memory(), at_once(net)
    parts: list[Array] = []
    with np.errstate(all="ignore"):
        for start in range(0, len(x), size):
            tape = _tape(memory, weights)
            scores, _ = net.write(tape, np.asarray(x[start : start + size], dtype)[None])
            answer = task.answer(tape, scores, _left(task, kept, tape, scores.shape[1:], 0))
            tape.run()
            parts.append(np.swapaxes(answer, 1, 2).copy())
    return np.concatenate(parts, axis=1)


def evaluate(config: Config, weights: Mapping[str, Array], x: Array, y: Array) -> dict[str, Array]:
    """The mean `loss` and the `accuracy` or `r2`, each (R,), on x (n, D) and y (n,) or (n, K).

    The loss is the cross-entropy, or the squared error in the unit of y.
    """
    net, task = network_of(config, weights), config.training.task
    weights, dtype = _typed(config, weights)
    with np.errstate(all="ignore"):
        loss, share = Evaluation(net, weights, np.asarray(x, dtype)[None], y[None], task=task)()
    return {"loss": loss, task.metric: share}


def network_of(config: Config, weights: Mapping[str, Array]) -> Network:
    """The net that has these weights (R, …)."""
    classes, binary = weights[f"{config.model.depth}.weight"].shape[2], config.training.binary
    image = Image(*(int(each) for each in weights["image"][0])) if "image" in weights else None
    return network(
        config.model,
        inputs=weights["0.weight"].shape[1] if image is None else image.channels * image.pixels,
        classes=2 if binary else classes,
        binary=binary,
        image=image,
    )


def _typed(config: Config, weights: Mapping[str, Array]) -> tuple[Mapping[str, Array], np.dtype]:
    """The weights in the type of the last layer, and that type."""
    dtype = weights[f"{config.model.depth}.weight"].dtype
    typed = {name: np.asarray(each, dtype) for name, each in weights.items() if name != "image"}
    return typed, dtype


def at_once(net: Network) -> int:
    """How many rows are predicted at once: fewer of large images."""
    return max(1, min(ROWS, NUMBERS // net.most)) if net.most else ROWS


def _left(
    task: Task, kept: Memory, tape: Tape, shape: tuple[int, ...], order: int
) -> tuple[Array, ...]:
    """The arrays that a task leaves behind for scores of this shape (K, N)."""
    shapes = enumerate(task.left(*shape), order)
    return tuple(kept.get(at, (tape.replicates, *each), tape.dtype) for at, each in shapes)


def _tape(memory: Memory, weights: Mapping[str, Array]) -> Tape:
    variables = {name: Variable(array, array) for name, array in weights.items() if name != "image"}
    return Tape(memory, variables=variables, running=weights, training=False)


def inputs(rows: Sequence[Features], dtype: np.dtype) -> Array | Stack:
    """The rows of all replicates as `Evaluation` takes them, see `stacked`."""
    on_disk = [each for each in rows if isinstance(each, Selection)]
    if on_disk:
        return Stack(on_disk[:1] if all(each is rows[0] for each in rows) else on_disk)
    return stacked([each for each in rows if not isinstance(each, Selection)], dtype)


def stacked(arrays: Sequence[Array], dtype: np.dtype | None = None) -> Array:
    """One array (1, …) when all are the same object, else (R, …)."""
    first = arrays[0]
    same = all(each is first for each in arrays)
    return np.asarray(first, dtype)[None] if same else np.stack(arrays).astype(dtype or first.dtype)
