"""Every operation on a tape exists in CuPy with the arguments used; no GPU is needed to see it."""

import inspect
import warnings
from typing import Any

import numpy as np
import pytest

from tests.trainer.gradients import Problem
from tests.trainer.test_gradients import ACTIVATION_CASES
from tests.trainer.test_optimisers import FORMULAS, Course

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # CuPy says that there is no driver
    cupy = pytest.importorskip("cupy", reason="the extra `gpu` is not installed")


def operations() -> list[Any]:
    """All that training with any technique puts on a tape."""
    found: list[Any] = []
    for activation in ACTIVATION_CASES:
        for place in ("none", "before", "after"):
            model = {"activation": activation, "batch_norm": place, "dropout": 0.3}
            found += Problem(model).tape.operations
    for written, _ in FORMULAS.values():
        found += Course(written, np.zeros(2)).tape.operations
    return found


def check(operation: Any) -> None:
    function, options = operation.func, operation.keywords
    if isinstance(function, np.ufunc) and function is not np.matmul:
        twin = getattr(cupy, function.__name__)
        assert (twin.nin, twin.nout) == (function.nin, function.nout)
        assert options.keys() == {"out"}
        kinds = [each.dtype for each in operation.args]
        loops = [loop.partition("->")[0] for loop in twin.types]
        assert any(all(map(np.can_cast, kinds, loop)) for loop in loops), (function, kinds)
    elif function == np.maximum.reduce:
        assert isinstance(cupy.maximum, cupy.ufunc)
        assert hasattr(cupy.maximum, "reduce")  # its arguments: axis, dtype, out, keepdims
        assert options.keys() <= {"axis", "out", "keepdims"}
    else:
        inspect.signature(getattr(cupy, function.__name__)).bind(*operation.args, **options)


def test_every_operation_exists() -> None:
    seen = operations()
    assert len(seen) > 1000
    for operation in seen:
        check(operation)
    named = {getattr(each.func, "__name__", "") for each in seen}
    assert {"matmul", "copyto", "reduce", "tanh", "sqrt"} <= named
