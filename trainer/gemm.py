"""Matrix products on a GPU by cuBLAS itself: CuPy refuses its own while a graph is captured.

All arrays of a tape have three axes, the replicates first, and matrices that lie row by row or
column by column, so one call does a product for all replicates, without copies.
"""

import ctypes
from typing import Any, NamedTuple

from trainer.arrays import Array, address

WORKSPACE = 32 << 20
"""Bytes that cuBLAS may work in: what its documentation advises for the largest cards."""

NUMBERS: dict[str, tuple[str, Any]] = {
    "float32": ("cublasSgemmStridedBatched", ctypes.c_float),
    "float64": ("cublasDgemmStridedBatched", ctypes.c_double),
}

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
_GEMM = [
    *(_POINTER, _INT, _INT, _INT, _INT, _INT, _POINTER),
    *(_POINTER, _INT, _LONG, _POINTER, _INT, _LONG),
    *(_POINTER, _POINTER, _INT, _LONG, _INT),
]


class GemmError(RuntimeError):
    """CuBLAS refused a call, with its status."""


class Matrices(NamedTuple):
    """How matrices (R, rows, columns) lie in memory, as cuBLAS wants to hear it.

    Attributes:
        across: whether they lie column by column.
        leading: numbers from one row, or column, to the next.
        stride: numbers from one matrix to the next, 0 where there is one for all.
    """

    across: bool
    leading: int
    stride: int


def layout(array: Array) -> Matrices:
    """The layout of an array; raises ValueError where its matrices lie neither way."""
    count, rows, columns = array.shape
    batch, down, right = (step // array.itemsize for step in array.strides)
    stride = batch if count > 1 else 0
    if columns == 1 or right == 1:
        leading = down if rows > 1 else columns
        if leading >= columns:
            return Matrices(False, leading, stride)
    if rows == 1 or down == 1:
        leading = right if columns > 1 else rows
        if leading >= rows:
            return Matrices(True, leading, stride)
    raise ValueError(f"no layout for matrices with strides {array.strides}")


class Gemm:
    """`out = left·right` on one stream.

    Args:
        library: cuBLAS, as `ctypes` has it.
        stream: address of the stream.
        workspace: `WORKSPACE` bytes on the device.
    """

    def __init__(self, library: Any, stream: int, workspace: Array) -> None:
        self._library, self._workspace = library, workspace
        self._handle = _POINTER()
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        self._call("cublasSetStream_v2", self._handle, _POINTER(stream))
        size = ctypes.c_size_t(workspace.nbytes)
        self._call("cublasSetWorkspace_v2", self._handle, _POINTER(address(workspace)), size)
        self._functions = {name: getattr(library, name) for name, _ in NUMBERS.values()}
        for function in self._functions.values():
            function.argtypes = _GEMM

    def __call__(self, left: Array, right: Array, out: Array) -> None:
        """Starts the products of left (R or 1, M, K) and right (R or 1, K, N) into out (R, M, N).

        CuBLAS has matrices column by column: to it a row-by-row `out` is its own transpose,
        outᵀ = rightᵀ·leftᵀ, and those are what lies in memory.
        """
        if layout(out).across:
            left, right, out = right.swapaxes(1, 2), left.swapaxes(1, 2), out.swapaxes(1, 2)
        first, second, result = layout(right), layout(left), layout(out)
        name, kind = NUMBERS[out.dtype.name]
        function, one, zero = self._functions[name], kind(1.0), kind(0.0)
        _checked(
            function(
                *(self._handle, int(first.across), int(second.across)),
                *(out.shape[2], out.shape[1], left.shape[2], ctypes.byref(one)),
                *(address(right), first.leading, first.stride),
                *(address(left), second.leading, second.stride),
                *(ctypes.byref(zero), address(out), result.leading, result.stride, out.shape[0]),
            ),
            name,
        )

    def _call(self, name: str, *arguments: Any) -> None:
        _checked(getattr(self._library, name)(*arguments), name)


def _checked(status: int, name: str) -> None:
    if status:
        raise GemmError(f"{name} failed with status {status}")
