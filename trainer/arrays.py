"""The seam to the array library: the arrays' type, their memory and the functions on them."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LINE = 64
"""Bytes in a cache line: every buffer starts on one."""


def address(array: Array) -> int:
    """Where in memory, its own device's, the first number of `array` lies."""
    if isinstance(array, np.ndarray):
        return int(array.__array_interface__["data"][0])
    return int(array.data.ptr)


class Memory:
    """Buffers that programs of the same order of requests share.

    The k-th request of every program gets the k-th buffer, so that the programs for a full batch,
    for the ragged last one and for each slot of a chunk run in the same memory. Only one of them
    may be running, and what it leaves there is of no use to another.

    Args:
        library: the array functions that work on the buffers.
    """

    def __init__(self, library: Any = np) -> None:
        self.library = library
        self._blocks: list[Array] = []
        self._filled: dict[tuple[tuple[int, ...], float, Any], Array] = {}

    def get(self, order: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """The buffer for request number `order`, as an array of this shape and type."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if order == len(self._blocks):
            self._blocks.append(self._made(size))
        elif self._blocks[order].nbytes < size:
            self._blocks[order] = self._made(size)
        block: Array = self._blocks[order][:size].view(dtype)
        return block.reshape(shape)

    @property
    def blocks(self) -> list[Array]:
        """All buffers, as bytes."""
        return list(self._blocks)

    @property
    def constants(self) -> dict[int, float]:
        """What the arrays made by `filled` hold, by the `id` of the array."""
        return {id(array): value for (_, value, _), array in self._filled.items()}

    def filled(self, shape: tuple[int, ...], value: float, dtype: Any) -> Array:
        """An array that holds one number, the same for all who ask; not to be written to."""
        key = (shape, value, dtype)
        if key not in self._filled:
            self._filled[key] = self.library.full(shape, value, dtype)
        return self._filled[key]

    def _made(self, size: int) -> Array:
        if self.library is np:
            return aligned(size)
        block: Array = self.library.empty(size, np.uint8)  # a device aligns by itself
        return block


def aligned(size: int) -> Array:
    """`size` bytes that start on a cache line."""
    block = np.empty(size + LINE, dtype=np.uint8)
    start = -block.ctypes.data % LINE
    return block[start : start + size]
