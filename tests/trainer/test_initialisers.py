import math
from typing import Any

import numpy as np
import pytest

from trainer.config import Config
from trainer.initialisers import INITIALISERS, Fan
from trainer.rules import check

IN, OUT = 400, 200

CASES: list[tuple[Any, Any, float]] = [  # scheme, activation, standard deviation
    ("normal", "relu", 0.01),
    ({"normal": {"sigma": 1.0}}, "relu", 1.0),
    ("lecun_normal", "relu", math.sqrt(1 / IN)),
    ("lecun_uniform", "relu", math.sqrt(1 / IN)),
    ("xavier_normal", "relu", math.sqrt(2 / (IN + OUT))),
    ("xavier_uniform", "relu", math.sqrt(2 / (IN + OUT))),
    ("he_normal", "relu", math.sqrt(2 / IN)),
    ("he_uniform", "relu", math.sqrt(2 / IN)),
    ("he_normal", {"leaky_relu": {"alpha": 0.9}}, math.sqrt(2 / (1.81 * IN))),
    ("he_uniform", {"prelu": {"initial": 0.5}}, math.sqrt(2 / (1.25 * IN))),
    ("book_normal", "sigmoid", math.sqrt(2 / (IN + OUT))),
    ("book_normal", "tanh", 4 * math.sqrt(2 / (IN + OUT))),
    ("book_uniform", "tanh", 4 * math.sqrt(2 / (IN + OUT))),
    ("book_uniform", "relu", 2 / math.sqrt(IN + OUT)),
    ("orthogonal", "relu", math.sqrt(1 / IN)),
    ({"orthogonal": {"gain": 2.0}}, "relu", math.sqrt(4 / IN)),
]


def drawn(
    scheme: Any, activation: Any = "relu", inputs: int = IN, outputs: int = OUT
) -> np.ndarray:
    model = check(Config, {"model": {"init": scheme, "activation": activation}}).model
    fan = Fan(inputs, outputs, model.activation)
    generator = np.random.default_rng(0)
    return INITIALISERS[model.init.name].draw(generator, model.init, fan)


@pytest.mark.parametrize(("scheme", "activation", "sigma"), CASES, ids=str)
def test_standard_deviation(scheme: Any, activation: Any, sigma: float) -> None:
    weights = drawn(scheme, activation)
    assert weights.shape == (IN, OUT)
    assert abs(weights.mean()) < 4 * sigma / math.sqrt(weights.size)
    assert weights.std() == pytest.approx(sigma, rel=0.01)


def test_every_scheme_has_a_case() -> None:
    assert {name if isinstance(name, str) else next(iter(name)) for name, *_ in CASES} == set(
        INITIALISERS
    )


@pytest.mark.parametrize("name", [name for name in INITIALISERS if name.endswith("_uniform")])
def test_uniform_has_its_bound(name: str) -> None:
    weights = drawn(name)
    assert abs(weights).max() == pytest.approx(math.sqrt(3) * weights.std(), rel=0.02)


@pytest.mark.parametrize(("inputs", "outputs"), [(30, 20), (20, 30), (20, 20)])
def test_orthogonal(inputs: int, outputs: int) -> None:
    weights = drawn("orthogonal", "relu", inputs, outputs)
    product = weights.T @ weights if inputs >= outputs else weights @ weights.T
    np.testing.assert_allclose(product, np.eye(min(inputs, outputs)), atol=1e-12)
