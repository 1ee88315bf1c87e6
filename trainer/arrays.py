"""The seam to the array library: the arrays' type, their memory and their library by device."""

import types
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LINE = 64
"""Bytes in a cache line: every buffer starts on one."""


def library(array: Array) -> types.ModuleType:
    """The module whose functions work on `array`: NumPy here."""
    if isinstance(array, np.ndarray):
        return np
    raise TypeError(f"no array library knows {type(array).__name__}")


class Memory:
    """Buffers that programs of the same order of requests share.

    The k-th request of every program gets the k-th buffer, so that the programs for a full batch,
    for the ragged last one and for each slot of a chunk run in the same memory. Only one of them
    may be running, and what it leaves there is of no use to another.
    """

    def __init__(self) -> None:
        self._blocks: list[Array] = []

    def get(self, order: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """The buffer for request number `order`, as an array of this shape and type."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if order == len(self._blocks):
            self._blocks.append(aligned(size))
        elif self._blocks[order].nbytes < size:
            self._blocks[order] = aligned(size)
        block: Array = self._blocks[order][:size].view(dtype)
        return block.reshape(shape)


def aligned(size: int) -> Array:
    """`size` bytes that start on a cache line."""
    block = np.empty(size + LINE, dtype=np.uint8)
    start = -block.ctypes.data % LINE
    return block[start : start + size]
