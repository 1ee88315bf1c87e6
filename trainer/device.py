"""A GPU: CuPy's array functions, with matrix products and programs that a CUDA graph can hold.

Everything runs on one stream, in order; nothing waits for it but `host`.
"""

import ctypes
import functools
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer import elementwise
from trainer.arrays import Array, address
from trainer.fusion import Operation
from trainer.gemm import WORKSPACE, Gemm
from trainer.selection import Features, Selection

KEPT = 64
"""Arrays of data that stay on the device, the latest: folds of a study or two."""


class DeviceError(RuntimeError):
    """There is no GPU to train on, or what drives it is not installed."""


def installed() -> None:
    """Raises DeviceError where CuPy is not installed; a look that costs nothing."""
    if importlib.util.find_spec("cupy") is None:
        raise DeviceError("a GPU needs CuPy: install the extra `gpu` (pip install 'sweep[gpu]')")


@functools.cache
def opened() -> "Device":
    """The GPU of this process.

    Raises:
        DeviceError: there is none, or a library is missing; says which.
    """
    installed()
    import cupy
    from cuda import pathfinder

    try:
        if not cupy.cuda.runtime.getDeviceCount():
            raise DeviceError("no GPU was found")
        library = pathfinder.load_nvidia_dynamic_lib("cublas")
        return Device(cupy, ctypes.CDLL(library.abs_path))
    except pathfinder.DynamicLibNotFoundError as error:
        raise DeviceError(f"a GPU needs CUDA's libraries (cupy-cuda12x[ctk]): {error}") from error
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"no GPU was found: {error}") from error


class Device:
    """The functions of CuPy by their names there, and what else a program on a GPU needs.

    `card` is its name, `stream` what everything runs on: to be entered before anything else.

    Args:
        cupy: the module.
        blas: cuBLAS, as `ctypes` has it.
    """

    def __init__(self, cupy: Any, blas: Any) -> None:
        self._cupy = cupy
        self.stream = cupy.cuda.Stream(non_blocking=True)
        with self.stream:
            workspace = cupy.empty(WORKSPACE, np.uint8)
        runtime = cupy.cuda.runtime
        self.card = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
        self._gemm = Gemm(blas, self.stream.ptr, workspace)
        self._kernel = functools.cache(cupy.ElementwiseKernel)
        self._data: dict[tuple[Any, ...], tuple[Features, Array]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cupy, name)

    def matmul(self, left: Array, right: Array, *, out: Array) -> None:
        """The products (R, M, N) of left (R or 1, M, K) and right (R or 1, K, N)."""
        self._gemm(left, right, out)

    def host(self, array: Array) -> Array:
        """A copy in the host's memory; waits for all that was started."""
        found: Array = self._cupy.asnumpy(array)
        return found

    def data(self, array: Features) -> Array:
        """The same numbers on the device, put there once for as long as they are in use."""
        if isinstance(array, Selection):
            key = array.identity
        else:
            key = (address(array), array.shape, array.strides, array.dtype.str)
        if key not in self._data:
            if len(self._data) == KEPT:
                del self._data[next(iter(self._data))]
            # with the array itself, so that nothing else comes to lie at its address
            self._data[key] = array, self._cupy.asarray(np.asarray(array))
        return self._data[key][1]

    def stacked(self, arrays: Sequence[Features], dtype: Any) -> Array:
        """One array (1, …) when all are the same object, else (R, …), on the device."""
        same = all(each is arrays[0] for each in arrays)
        put = [self.data(each).astype(dtype, copy=False) for each in arrays[: 1 if same else None]]
        whole: Array = put[0][None] if same else self._cupy.stack(put)
        return whole

    def room(self) -> int:
        """Bytes for parameters and what belongs to them: half of what is free."""
        free, _total = self._cupy.cuda.runtime.memGetInfo()
        return int(free) // 2

    def fuse(
        self,
        operations: Sequence[Operation],
        *,
        scratch: Iterable[Array],
        filled: Mapping[int, float],
    ) -> list[Operation]:
        """See `elementwise.fuse`."""
        kind = self._cupy.ndarray
        return elementwise.fuse(
            operations, self, self._kernel, kind=kind, scratch=scratch, filled=filled
        )

    def program(self, operations: Sequence[Operation]) -> Callable[[], None]:
        """A program that is run again and again, if possible as a graph."""
        return Program(self._cupy, self.stream, operations)


class Program:
    """Operations that run one by one the first time, and from then on as a CUDA graph.

    The first run compiles the kernels and finds out how much memory the operations ask for while
    they run: that memory is of a pool of the program's own, because the graph goes on writing
    there. Where CuPy cannot capture an operation, they go on running one by one.
    """

    def __init__(self, cupy: Any, stream: Any, operations: Sequence[Operation]) -> None:
        self._cupy, self._stream, self._operations = cupy, stream, operations
        self._pool = cupy.cuda.MemoryPool()
        self._runs = 0
        self._graph: Any = None

    def __call__(self) -> None:
        """Starts a run."""
        if self._runs == 1:
            self._graph = self._captured()
        self._runs += 1
        if self._graph is None:
            self._plainly()
        else:
            self._graph.launch()

    def _plainly(self) -> None:
        with self._cupy.cuda.using_allocator(self._pool.malloc):
            for operation in self._operations:
                operation()

    def _captured(self) -> Any:
        try:
            self._stream.begin_capture()
            try:
                self._plainly()
            finally:
                graph = self._stream.end_capture()
        except RuntimeError:  # as CuPy and CUDA say that something cannot be captured
            return None
        return graph
