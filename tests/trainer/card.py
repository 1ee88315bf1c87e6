"""A stand-in for a GPU: the trainer's whole path there, on NumPy's arrays.

Every function that is called must exist in CuPy and take the arguments that it is given; kernels
are read as the C++ they are, and cuBLAS is asked by addresses and column by column. What this
cannot show is that a real card does the same: `test_gpu.py` does where there is one.
"""

import contextlib
import ctypes
import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trainer import gemm
from trainer.device import Device

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # CuPy says that there is no driver
    cupy = pytest.importorskip("cupy", reason="the extra `gpu` is not installed")

METHODS = ("astype", "fill", "reshape", "sum", "swapaxes", "view")
"""Methods of arrays that the trainer uses on a device."""

NUMBERS = {
    "bool": np.bool_,
    "unsigned short": np.uint16,
    "long long": np.int64,
    "unsigned long long": np.uint64,
    "float": np.float32,
    "double": np.float64,
}


class Cupy:
    """NumPy under CuPy's names, which notes the calls and checks them against CuPy."""

    ndarray = np.ndarray

    def __init__(self) -> None:
        self.calls: set[str] = set()
        self.kernels: list[tuple[str, str, str]] = []
        self.captured: list[Callable[[], Any]] | None = None
        self.refuses = False
        self.launches = 0
        self.cuda = SimpleNamespace(
            Stream=lambda *, non_blocking: Stream(self),
            MemoryPool=lambda: SimpleNamespace(malloc=None),
            using_allocator=lambda _malloc: contextlib.nullcontext(),
            runtime=SimpleNamespace(
                memGetInfo=lambda: (1 << 30, 1 << 31),
                getDevice=lambda: 0,
                getDeviceProperties=lambda _device: {"name": b"stand-in"},
            ),
        )

    @functools.cache  # noqa: B019 - the same function every time, as CuPy's are
    def __getattr__(self, name: str) -> Any:
        real, twin = getattr(cupy, name), getattr(np, name)
        if isinstance(twin, type):
            return twin

        def call(*given: Any, **options: Any) -> Any:
            self.calls.add(name)
            accepts(real, given, options)
            return self.started(functools.partial(twin, *given, **options))

        call.__name__ = name
        return call

    def started(self, operation: Callable[[], Any]) -> Any:
        """Runs an operation, or while a graph is captured only notes it."""
        if self.captured is None:
            return operation()
        if self.refuses:
            raise NotImplementedError("cannot be captured")
        return self.captured.append(operation)

    def asnumpy(self, array: Any) -> Any:
        self.calls.add("asnumpy")
        return array.copy()

    def ElementwiseKernel(self, inputs: str, outputs: str, body: str) -> Callable[..., None]:  # noqa: N802
        cupy.ElementwiseKernel(inputs, outputs, body)  # reads the parameters
        self.kernels.append((inputs, outputs, body))

        def call(*given: Any) -> None:
            self.started(functools.partial(interpreted, inputs, outputs, body, *given))

        return call


class Stream:
    """A stream whose graphs are lists of calls."""

    ptr = 1

    def __init__(self, owner: Cupy) -> None:
        self._owner = owner

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def begin_capture(self) -> None:
        self._owner.captured = []

    def end_capture(self) -> Any:
        operations, self._owner.captured = self._owner.captured or [], None

        def launch() -> None:
            self._owner.launches += 1
            for operation in operations:
                operation()

        return SimpleNamespace(launch=launch)


class Blas:
    """CuBLAS on the host's memory: float matrices, column by column, by their addresses."""

    def __init__(self, owner: Cupy) -> None:
        self._owner = owner
        self.cublasSgemmStridedBatched = self._gemm(ctypes.c_float)
        self.cublasDgemmStridedBatched = self._gemm(ctypes.c_double)

    def cublasCreate_v2(self, handle: Any) -> int:  # noqa: N802
        handle._obj.value = 7
        return 0

    def cublasSetStream_v2(self, _handle: Any, _stream: Any) -> int:  # noqa: N802
        return 0

    def cublasSetWorkspace_v2(self, _handle: Any, _address: Any, _size: Any) -> int:  # noqa: N802
        return 0

    def _gemm(self, kind: Any) -> Any:
        size = ctypes.sizeof(kind)

        def matrix(at: int, rows: int, columns: int, leading: int) -> np.ndarray:
            assert leading >= max(1, rows)
            numbers = (columns - 1) * leading + rows
            flat = np.ctypeslib.as_array((kind * numbers).from_address(at))
            return np.lib.stride_tricks.as_strided(flat, (rows, columns), (size, leading * size))

        # called as a C function is, with the arguments of cuBLAS's documentation
        @ctypes.CFUNCTYPE(ctypes.c_int, *gemm._GEMM)  # type: ignore[untyped-decorator]
        def call(*given: Any) -> int:
            factors = [kind.from_address(given[at]).value for at in (6, 13)]
            if factors != [1.0, 0.0] or (self._owner.refuses and self._owner.captured is not None):
                return 13
            self._owner.started(functools.partial(multiplied, *given))
            return 0

        def multiplied(*given: Any) -> None:
            _, across_a, across_b, m, n, k, _, a, lda, sa, b, ldb, sb, _, c, ldc, sc, r = given
            for each in range(r):
                left, right = a + each * sa * size, b + each * sb * size
                one = matrix(left, k, m, lda).T if across_a else matrix(left, m, k, lda)
                other = matrix(right, n, k, ldb).T if across_b else matrix(right, k, n, ldb)
                matrix(c + each * sc * size, m, n, ldc)[...] = one @ other

        return call


def accepts(real: Any, given: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Whether a function of CuPy takes these arguments, as far as can be seen without a card."""
    if isinstance(real, cupy.ufunc):
        assert len(given) == real.nin, real
        assert options.keys() == {"out"}, (real, options)
        kinds = [each.dtype for each in given]
        loops = [loop.partition("->")[0] for loop in real.types]
        assert any(all(map(np.can_cast, kinds, loop)) for loop in loops), (real, kinds)
    else:
        inspect.signature(real).bind(*given, **options)


def interpreted(inputs: str, outputs: str, body: str, *given: np.ndarray) -> None:
    """Runs a kernel's body number by number, all at once."""
    parameters = [each.split() for each in f"{inputs}, {outputs}".split(", ")]
    assert [kind for kind, _ in parameters] == [each.dtype.name for each in given]
    names = {name: array for (_, name), array in zip(parameters, given, strict=True)}
    shape = np.broadcast_shapes(*(each.shape for each in given))
    values: dict[str, Any] = dict(names)
    for line in body.splitlines():
        declared = re.fullmatch(r"const ([a-z ]+) (y\d+) = \(\1\)\((.*)\);", line)
        if declared:
            kind, name, expression = declared.groups()
            values[name] = evaluated(expression, values).astype(NUMBERS[kind])
            continue
        stored = re.fullmatch(r"(b\d+) = (\w+);", line)
        assert stored, line
        assert names[stored[1]].shape == shape
    for line in body.splitlines():
        stored = re.fullmatch(r"(b\d+) = (\w+);", line)
        if stored:
            names[stored[1]][...] = values[stored[2]]


def evaluated(expression: str, values: dict[str, Any]) -> Any:
    """A C++ expression of whole arrays."""
    for kind, number in NUMBERS.items():
        expression = expression.replace(f"({kind})", number.__name__)
    chosen = re.fullmatch(r"(.*) \? (.*) : (.*)", expression)
    if chosen:
        condition, yes, no = chosen.groups()
        expression = f"where({condition.replace('||', '|')}, {yes}, {no})"
    functions = ("where", "sqrt", "exp", "expm1", "log", "log1p", "tanh")
    scope = {name: getattr(np, name) for name in functions}
    scope |= {number.__name__: number for number in NUMBERS.values()}
    with np.errstate(all="ignore"):
        return np.asarray(eval(expression, scope | values))  # noqa: S307


@contextlib.contextmanager
def card() -> Iterator[tuple[Device, Cupy]]:
    """A device that is none, and what it has noted at the end."""
    standing = Cupy()
    yield Device(standing, Blas(standing)), standing
    for name in METHODS:
        assert hasattr(cupy.ndarray, name)
