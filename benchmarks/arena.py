"""Runs contenders in processes of their own, one at a time, in turn."""

import contextlib
import importlib
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Self

from benchmarks.contenders import CONTENDERS, Run
from benchmarks.work import Work

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
"""Settings that force one library's kernels: taken away, so that each chooses for itself."""


PACKAGES = {
    "PyTorch": "torch",
    "PyTorch compiled": "torch",
    "PyTorch on the GPU": "torch",
    "ours on the GPU": "cupy",
    "MLPClassifier": "sklearn",
    "JAX": "jax",
}
"""What a contender needs to be installed."""


class Contender:
    """A contender in a process with this many threads. Raises RuntimeError where it cannot run."""

    def __init__(self, name: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, name, threads), daemon=True)
        with _environment(threads):
            self._process.start()
        self._ask(None)

    def prepare(self, work: Work, part: str) -> None:
        """Gets ready for `seconds`, and runs the work once to warm up."""
        self._ask((work, part))

    def seconds(self) -> float:
        """Runs the work once."""
        return float(self._ask("run"))

    def memory(self) -> float:
        """The most memory that the process has had resident, in bytes."""
        return float(self._ask("memory"))

    def facts(self) -> dict[str, Any]:
        """What BLAS the process runs on."""
        return dict(self._ask("facts"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()

    def _ask(self, what: Any) -> Any:
        self._connection.send(what)
        try:
            answer = self._connection.recv()
        except EOFError:
            raise RuntimeError("the process has died") from None
        if isinstance(answer, Exception):
            raise RuntimeError(str(answer))
        return answer


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    for name in FORCED:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(connection: Connection, name: str, threads: int) -> None:
    """Answers until the other end closes."""
    run: Run = lambda: None  # noqa: E731
    try:
        if name in PACKAGES:
            package = importlib.import_module(PACKAGES[name])
            if package.__name__ == "torch":
                package.set_num_threads(threads)
    except ImportError as error:
        connection.send(error)
        return
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        answer: Any = None
        try:
            if asked == "run":
                began = time.perf_counter()
                run()
                answer = time.perf_counter() - began
            elif asked == "memory":
                answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            elif asked == "facts":
                answer = _facts()
            elif asked is not None:
                work, part = asked
                run = CONTENDERS[name](work, part)
                run()
        except Exception as error:
            answer = RuntimeError(repr(error)[:300])
        connection.send(answer)


def _facts() -> dict[str, Any]:
    import threadpoolctl

    pools = threadpoolctl.threadpool_info()
    return {"BLAS": "/".join(str(p.get("architecture")) for p in pools if "architecture" in p)}
