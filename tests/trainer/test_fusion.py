"""Fused loops, here run by Python itself: the same bits as operation by operation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_gradients import ACTIVATION_CASES
from tests.trainer.test_replicates import assert_same
from trainer import kernels
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data
from trainer.fusion import FORMS, Compiler, Operation, fuse
from trainer.optimisers import OPTIMISERS
from trainer.protocol import Progress
from trainer.training import train


def interpreted(source: str) -> Callable[..., None]:
    """The loop that `source` defines, as plain Python."""
    names: dict[str, Any] = {name: getattr(np, name) for name in ("bool_", "sqrt")}
    names |= {"float32": np.float32, "float64": np.float64}
    exec(source, names)  # noqa: S102
    loop: Callable[..., None] = names["loop"]
    return loop


def fused(
    operations: Sequence[Operation],
    *,
    scratch: tuple[Array, ...] = (),
    filled: dict[int, float] | None = None,
) -> list[Operation]:
    return fuse(operations, interpreted, scratch=scratch, filled=filled or {})


def run(operations: Sequence[Operation]) -> None:
    for operation in operations:
        operation()


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check_loops(cfg: Config, monkeypatch: pytest.MonkeyPatch, replicates: int = 2) -> None:
    """A whole training gives the same bits fused and not."""
    data = Data((fold(11, features=3),), 3)
    monkeypatch.setattr("trainer.group.FUSION_COST", 0)
    monkeypatch.setattr(kernels, "compiled", interpreted)

    def trained(available: bool) -> Progress:
        monkeypatch.setattr(kernels, "worth", lambda _seconds: available)
        return train(cfg, data, None, 2, seed=0, replicates=replicates)

    plain, other = trained(available=False), trained(available=True)
    assert_same(plain.state, other.state)
    assert_same(plain.history, other.history)


class TestTraining:
    @pytest.mark.parametrize("place", ["none", "before", "after"])
    @pytest.mark.parametrize("activation", ACTIVATION_CASES, ids=str)
    def test_every_activation(
        self, activation: Any, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = {"hidden": [3, 2], "activation": activation, "batch_norm": place, "dropout": 0.3}
        check_loops(config(model, batch_size=4), monkeypatch)

    @pytest.mark.parametrize("precision", ["float32", "float64"])
    @pytest.mark.parametrize("optimizer", OPTIMISERS)
    def test_every_optimiser(
        self, optimizer: str, precision: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cfg = config({"hidden": [3]}, optimizer=optimizer, precision=precision, batch_size=4)
        check_loops(cfg, monkeypatch, replicates=1)

    @pytest.mark.parametrize("hidden", [[], [1], [1, 2, 1]])
    def test_narrow_nets(self, hidden: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        model = {"hidden": hidden, "batch_norm": "before"}
        check_loops(config(model, batch_size=3), monkeypatch, replicates=3)


def test_a_chain_becomes_one_loop_that_skips_scratch() -> None:
    x, y, scratch = numbers(2, 3, 4), np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 4), "f")
    program = [
        partial(np.multiply, x, x, out=scratch),
        partial(np.add, scratch, x, out=scratch),
        partial(np.sqrt, scratch, out=y),
    ]
    (loop,) = fused(program, scratch=(scratch,))
    with np.errstate(invalid="ignore"):
        loop()
        np.testing.assert_array_equal(y, np.sqrt(x * x + x))
    assert (scratch == 0).all(), "written though nobody reads it"


def test_what_is_read_later_is_written() -> None:
    """Later in the program, or by the next run of it, or by others."""
    x, y, w = numbers(2, 6), np.zeros((2, 6), np.float32), np.zeros((2, 2), np.float32)
    scratch = np.zeros((2, 6), np.float32)
    product = partial(np.matmul, scratch, numbers(6, 2), out=w)
    write = partial(np.add, x, x, out=scratch)
    for program, blocks in (([write, product], (scratch,)), ([product, write], (scratch,))):
        scratch[:] = 0
        run(fused(list(program), scratch=blocks))
        np.testing.assert_array_equal(scratch, x + x)
    scratch[:] = 0
    run(fused([write, partial(np.add, x, x, out=y)]))
    np.testing.assert_array_equal(scratch, x + x)


def test_a_block_overwritten_in_part_is_written() -> None:
    x, scratch, y = numbers(4), np.zeros(4, np.float32), np.zeros((1, 1), np.float32)
    program = [
        partial(np.add, x, x, out=scratch),
        partial(np.matmul, x[None, :2], x[:2, None], out=y),
        partial(np.negative, x[:2], out=scratch[:2]),
        partial(np.matmul, scratch[None], x[:, None], out=y),
    ]
    run(fused(program, scratch=(scratch,)))
    np.testing.assert_array_equal(scratch, [*-x[:2], *(x + x)[2:]])


@pytest.mark.parametrize("case", ["read after written", "written after read", "written twice"])
def test_arrays_that_overlap_in_part_are_not_fused(case: str) -> None:
    def program(x: Array, y: Array) -> Sequence[Operation]:
        first, last = x[:5], x[1:]
        return {
            "read after written": [
                partial(np.negative, last, out=last),
                partial(np.add, first, first, out=y),
            ],
            "written after read": [
                partial(np.add, first, first, out=y),
                partial(np.add, y, y, out=last),
            ],
            "written twice": [
                partial(np.add, last, last, out=last),
                partial(np.negative, y, out=first),
            ],
        }[case]

    x, y, plain_x, plain_y = numbers(6), numbers(5, seed=1), numbers(6), numbers(5, seed=1)
    loops = fused(program(x, y))
    run(loops)
    run(program(plain_x, plain_y))
    assert len(loops) == 2
    np.testing.assert_array_equal(x, plain_x)
    np.testing.assert_array_equal(y, plain_y)


def test_broadcasting_transposition_and_numbers() -> None:
    z = np.zeros((2, 4, 3), np.float32).swapaxes(1, 2)  # (2, 3, 4), class by class in memory
    flat = numbers(2, 9)
    bias = flat[:, 3:7].reshape(2, 1, 4)  # replicates lie apart
    rows, half, ones = numbers(1, 3, 1, seed=1), np.array(0.5, np.float32), np.ones((2, 3, 4), "f")
    program = [
        partial(np.add, z, bias, out=z),
        partial(np.multiply, z, rows, out=z),
        partial(np.subtract, z, half, out=z),
        partial(np.maximum, z, ones, out=z),
    ]
    (loop,) = fused(program, filled={id(ones): 1.0})
    loop()
    np.testing.assert_array_equal(z, np.maximum(bias * rows - half, 1))


def check_form(function: Any, compiled: Compiler) -> None:
    """Zeros of both signs, infinities and NaN, each with each."""
    special = np.array([0.0, -0.0, 1.0, -2.0, np.inf, -np.inf, np.nan, 3e38], np.float32)
    inputs = (np.repeat(special, 8), np.tile(special, 8))[: function.nin]
    with np.errstate(all="ignore"):
        expected = function(*inputs)
        found = np.zeros_like(expected)
        run(fuse([partial(function, *inputs, out=found)], compiled, scratch=(), filled={}))
    np.testing.assert_array_equal(found, expected)


UFUNCS = [function for function in FORMS if function is not np.copyto]


@pytest.mark.parametrize("function", UFUNCS)
def test_every_form_is_its_function(function: Any) -> None:
    check_form(function, interpreted)


def test_a_mask_becomes_numbers() -> None:
    x, holds, y = numbers(5), np.zeros(5, bool), np.zeros(5, np.float32)
    words = np.array([0, 1, 2, 65535, 7], np.uint16)
    limit = np.asarray(2, np.uint16)
    program = [
        partial(np.greater_equal, words, limit, out=holds),
        partial(np.copyto, y, holds),
        partial(np.multiply, y, x, out=y),
    ]
    (loop,) = fused(program, scratch=(holds.view(np.uint8),))
    loop()
    np.testing.assert_array_equal(y, x * [0, 0, 1, 1, 1])


def test_other_operations_stay_as_they_are() -> None:
    x, y = numbers(2, 3), np.zeros((2, 3), np.float32)
    for operation in (partial(np.exp, x, out=y), partial(np.add, x, x, out=y, where=x > 0)):
        assert fused([operation]) == [operation]
    with pytest.raises(TypeError, match="with all its arguments"):
        fused([lambda: None])
