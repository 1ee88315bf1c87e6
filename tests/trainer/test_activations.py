import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.trainer.tapes import Bench
from trainer.activations import ACTIVATIONS
from trainer.arrays import Memory
from trainer.config import Config
from trainer.layers import activate
from trainer.reading import check
from trainer.tape import Tape, Variable

X = [-30.0, -3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0, 30.0]

CASES: list[tuple[Any, Callable[[float], float]]] = [
    ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
    ("tanh", math.tanh),
    ("relu", lambda x: max(0, x)),
    ("leaky_relu", lambda x: max(0.01 * x, x)),
    ({"leaky_relu": {"alpha": 0.2}}, lambda x: max(0.2 * x, x)),
    ("prelu", lambda x: max(0, x) + 0.25 * min(0, x)),
    ({"prelu": {"initial": -0.5, "slopes": "shared"}}, lambda x: max(0, x) - 0.5 * min(0, x)),
    ("elu", lambda x: x if x > 0 else math.expm1(x)),
    ({"elu": {"alpha": 0.3}}, lambda x: x if x > 0 else 0.3 * math.expm1(x)),
    ("selu", lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x))),
    ("gelu", lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    ("silu", lambda x: x / (1 + math.exp(-x))),
    ("softplus", lambda x: math.log1p(math.exp(-abs(x))) + max(0, x)),
    ("softsign", lambda x: x / (1 + abs(x))),
    ("identity", lambda x: x),
]


def bench(name: Any, x: np.ndarray, units: int) -> Bench:
    technique = check(Config, {"model": {"activation": name}}).model.activation
    return Bench(activate("0", technique, units), x, training=False)


@pytest.mark.parametrize(("name", "formula"), CASES, ids=str)
def test_output(name: Any, formula: Callable[[float], float]) -> None:
    x = np.array(X)[None, None, :]
    y = bench(name, x, len(X)).y
    np.testing.assert_allclose(y[0, 0], [formula(each) for each in X], rtol=1e-13, atol=1e-13)


def test_every_activation_has_a_case() -> None:
    named = {name if isinstance(name, str) else next(iter(name)) for name, _ in CASES}
    assert named | {"maxout"} == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "maxout"])
def test_huge_inputs_overflow_nowhere(name: str) -> None:
    x = np.array([[[-1e30, -1e4, 1e4, 1e30]]], np.float32)
    with (
        np.errstate(over="raise", invalid="raise") if name != "gelu" else np.errstate(all="ignore")
    ):
        y = bench(name, x, 4).y
    assert np.isfinite(y).all()


def test_maxout_takes_the_largest_piece() -> None:
    x = np.array([[[1.0, 5.0, 2.0, 4.0, 3.0, -9.0]]])  # pieces (1, 5), (2, 4), (3, -9)
    np.testing.assert_array_equal(bench({"maxout": {"pieces": 3}}, x, 2).y, [[[3.0, 5.0]]])


def test_the_first_of_equal_pieces_gets_the_gradient() -> None:
    technique = check(Config, {"model": {"activation": {"maxout": {"pieces": 3}}}}).model.activation
    z = np.array([[[5.0, 1.0, 5.0, 2.0, 4.0, 2.0]]])  # pieces (5, 1), (5, 2), (4, 2)
    tape = Tape(Memory(), variables={"": Variable(z, z)}, running={}, training=True)
    _, backward = activate("0", technique, 2).write(tape, z)
    dz = backward(np.array([[[7.0, 8.0]]]))
    tape.run()
    np.testing.assert_array_equal(dz, [[[7.0, 0.0, 0.0, 8.0, 0.0, 0.0]]])
