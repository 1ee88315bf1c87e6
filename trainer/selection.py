"""Selections: rows of a table, read and preprocessed when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from trainer.arrays import Array, address
from trainer.table import PIECE, Table, stored

ROWS = 1024
"""Rows that are read at once where all are wanted."""


class Selection:
    """Rows (n, D) of a table in float32, which are read as those of an array are.

    Indexing chooses among them and reads nothing; `take` and `np.asarray` read. A row x of the
    table reads as (x - shift)·scale, reckoned in float64 as `preprocessing.transform` does.

    Args:
        table: where they are.
        index: which rows of the table (n,).
        shift: (D,) in float64, with `scale` (D,); without them rows read as they are.
        scale: (D,).
    """

    ndim = 2
    dtype = np.dtype(np.float32)
    __array_ufunc__ = None  # arithmetic would read all rows at once, unnoticed

    def __init__(
        self, table: Table, index: Array, shift: Array | None = None, scale: Array | None = None
    ) -> None:
        self.table = table
        self._index, self._shift, self._scale = index, shift, scale
        self._narrow, self._wide = np.empty(0, np.float32), np.empty(0)

    def __reduce__(self) -> tuple[Any, ...]:
        return Selection, (self.table, self._index, self._shift, self._scale)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        return len(self._index), self.table.shape[1]

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells it from other selections, for as long as it lives."""
        own = (self._index, self._shift, self._scale)
        return self.table, self.shape, *(None if each is None else address(each) for each in own)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, chosen: slice | Array) -> "Selection":
        return Selection(self.table, self._index[chosen], self._shift, self._scale)

    def scaled(self, shift: Array | None, scale: Array | None) -> Array:
        """The same rows, of which each reads as (x - shift)·scale, if there are such."""
        assert self._shift is None
        return cast("Array", Selection(self.table, self._index, shift, scale))

    def take(
        self, index: Array, axis: int = 0, out: Array | None = None, mode: str = "clip"
    ) -> Array:
        """Reads the rows index (…) into `out` (…, D), as `ndarray.take` does along axis 0."""
        assert axis == 0
        index = self._index.take(index, mode=mode)  # type: ignore[call-overload]
        shape = (*index.shape, self.table.shape[1])
        if out is None:
            out = np.empty(shape, np.float32)
        rows = self.table.rows
        if self._shift is None and out.dtype == rows.dtype:
            rows.take(index, axis=0, out=out, mode="clip")
            return out
        size = int(np.prod(shape))
        if self._narrow.size < size:
            self._narrow = np.empty(size, np.float32)
        narrow = self._narrow[:size].reshape(shape)
        rows.take(index, axis=0, out=narrow, mode="clip")
        if self._shift is not None and self._scale is not None:
            if self._wide.size < size:
                self._wide = np.empty(size)
            wide = self._wide[:size].reshape(shape)
            np.subtract(narrow, self._shift, out=wide)
            np.multiply(wide, self._scale, out=wide)
            np.copyto(narrow, wide, casting="same_kind")
        np.copyto(out, narrow)
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        found = np.empty(self.shape, dtype or self.dtype)
        for start in range(0, len(self), ROWS):
            stop = min(start + ROWS, len(self))
            self.take(np.arange(start, stop), out=found[start:stop])
        return found


Features = Array | Selection
"""Rows of features (n, D) in float32: in memory, or on disk.

Who has them passes them on as an `Array`, which they are but for arithmetic; who reads them takes
`Features`.
"""


@dataclass(frozen=True)
class Stack:
    """Rows (R, n, D) of selections of n rows each."""

    parts: Sequence[Selection]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(R, n, D)."""
        return len(self.parts), *self.parts[0].shape

    def read(self, start: int, stop: int, out: Array) -> None:
        """Reads the rows from `start` to `stop` into `out` (R, stop - start, D)."""
        index = np.arange(start, stop)
        for part, place in zip(self.parts, out, strict=True):
            part.take(index, out=place)


def all_of(table: Table) -> Array:
    """All rows of a table, in the place of an array."""
    return cast("Array", Selection(table, np.arange(table.shape[0])))


def on_disk(x: Array) -> Array:
    """All rows of x (N, D), put on disk.

    Raises:
        TableError: there is no room for them.
    """
    rows = max(1, PIECE // (4 * x.shape[1]))
    blocks = (x[start : start + rows] for start in range(0, len(x), rows))
    return all_of(stored(blocks, (len(x), x.shape[1])))
