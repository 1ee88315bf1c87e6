"""Kernels: loops compiled by Numba, kept on disk so that a machine compiles each one once."""

import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_SECONDS = 0.7
"""What it takes to import Numba and to load a net's loops: measured on two cores of an AMD EPYC."""

_forgone = 0.0
_expected = 0

HEADER = """from numba import njit
from numpy import bool_, float32, float64, sqrt


@njit(cache={cache}, error_model="numpy", nogil=True)
"""


def available() -> bool:
    """Whether Numba is installed (the extra `fast`)."""
    return importlib.util.find_spec("numba") is not None


def expect(trainings: int) -> None:
    """Says how many trainings like the next one this process will see, as far as is known."""
    global _expected
    _expected = trainings


def worth(seconds: float) -> bool:
    """Whether to use loops that save so many seconds of a training.

    A process starts Numba when the trainings that it expects will pay for the start. Without such
    knowledge it does so once it has forgone what the start costs, which is never more than twice
    the cost of the better choice (the ski-rental problem, Karlin et al. 1988). The loops give the
    bits that NumPy gives, so nothing else depends on it.
    """
    global _forgone
    if "numba" in sys.modules:
        return True
    _forgone += seconds
    return max(_forgone, _expected * seconds) >= START_SECONDS and available()


@functools.cache
def compiled(source: str) -> Callable[..., None]:
    """The function `loop` that `source` defines, compiled at its first call for each type."""
    try:
        return _loaded(_stored(HEADER.format(cache=True) + source))
    except (OSError, RuntimeError):  # nowhere to keep it, as Numba says it
        names: dict[str, Any] = {}
        exec(HEADER.format(cache=False) + source, names)  # noqa: S102
        return names["loop"]  # type: ignore[no-any-return]


def _loaded(path: Path) -> Callable[..., None]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise OSError(f"{path}: cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where Numba looks for it when it reads its cache
    spec.loader.exec_module(module)
    return module.loop  # type: ignore[no-any-return]


def folder() -> Path:
    """Where kernels are kept: the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sweep" / "kernels"


def _stored(text: str) -> Path:
    """A file with this text; several processes may write it at once."""
    place = folder()
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = place / f"loop_{hashlib.sha256(text.encode()).hexdigest()[:20]}.py"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=place, suffix=".partial", delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)
    return path
