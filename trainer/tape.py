"""A tape: the array operations of one training step or prediction, bound once and replayed.

Every array of a step has its place in memory before the first step, so a step is a fixed list of
calls `function(inputs, out=output)`. Layers, activations and losses write themselves on a tape:
a forward part when they are built, and a `Backward` that writes the rest in reverse order.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from trainer.arrays import Array, Memory

Backward = Callable[[Array], Array]
"""Writes the gradient by a part's input on the tape, given the gradient by its output."""


class Variable(NamedTuple):
    """A learned array and the gradient of the loss by it, both with the replicate axis first."""

    value: Array
    gradient: Array


class Tape:
    """A list of bound operations, and the memory in which they work.

    Args:
        memory: where the buffers come from.
        variables: the learned arrays by name; `value` alone is used when not `training`.
        running: batch norm's running statistics by name, read in prediction.
        batch: the same for the batch at hand, written in training.
        bits: random 16-bit words (R, words), drawn anew for every step, for the masks.
        training: whether gradients and masks are wanted.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        variables: Mapping[str, Variable],
        running: Mapping[str, Array],
        batch: Mapping[str, Array] | None = None,
        bits: Array | None = None,
        training: bool,
    ) -> None:
        first = next(iter(variables.values())).value
        self.xp = memory.library
        self.dtype = first.dtype
        self.replicates = first.shape[0]
        self.variables = variables
        self.running = running
        self.batch = batch or {}
        self.training = training
        self.operations: list[Callable[[], Any]] = []
        self.marks: dict[str, Array] = {}
        self._memory = memory
        self._requests = 0
        self._bits = bits
        self._words = 0

    def add(self, function: Callable[..., Any], *inputs: Any, **options: Any) -> None:
        """Appends one operation."""
        self.operations.append(partial(function, *inputs, **options))

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """A buffer for intermediate values."""
        self._requests += 1
        return self._memory.get(self._requests - 1, shape, self.dtype if dtype is None else dtype)

    def mark(self, name: str, array: Array) -> None:
        """Makes a buffer known for what it holds after a prediction: nothing may write on it."""
        if not self.training:
            self.marks[name] = array

    def constant(self, value: float) -> Array:
        """A number as an array without axes, which spares its conversion at every call."""
        return self.xp.asarray(value, dtype=self.dtype)  # type: ignore[no-any-return]

    def filled(self, shape: tuple[int, ...], value: float) -> Array:
        """An array that holds one number; not to be written to.

        NumPy's maximum and minimum are several times faster with one of these than with a number.
        """
        return self._memory.filled(shape, value, self.dtype)

    def indicator(self, compare: Callable[..., Any], left: Array, right: Array) -> Array:
        """Writes a comparison; the buffer it returns is 1 where that holds, else 0."""
        holds, number = self.empty(left.shape, bool), self.empty(left.shape)
        self.add(compare, left, right, out=holds)
        self.add(self.xp.copyto, number, holds)  # a product with a bool is slower than this
        return number

    def largest(self, array: Array, axis: int, out: Array) -> None:
        """Writes the largest numbers along an axis, which stays in `out` with length 1."""
        # NumPy's `amax` does this with more ado; CuPy's `maximum` cannot reduce
        function = np.maximum.reduce if self.xp is np else self.xp.amax
        self.add(function, array, axis=axis, keepdims=True, out=out)

    def random_bits(self, shape: tuple[int, ...]) -> Array:
        """A view (R, …) on the random words of the step that no other part has taken."""
        if self._bits is None:
            raise ValueError("this tape was made without random bits")
        start, self._words = self._words, self._words + words(shape)
        return self._bits[:, start : start + _size(shape)].reshape(shape)

    def run(self) -> None:
        """Runs all operations in order."""
        for operation in self.operations:
            operation()


def words(shape: tuple[int, ...]) -> int:
    """How many 16-bit words a replicate of `shape` (R, …) takes: whole 64-bit draws."""
    return -(-_size(shape) // 4) * 4


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape[1:]:
        size *= length
    return size
