import math
from typing import Any

import numpy as np
import pytest

from trainer.config import Config
from trainer.initialisers import INITIALISERS, Fan
from trainer.layers import applied
from trainer.network import network
from trainer.reading import check

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


@pytest.mark.parametrize(
    ("scheme", "activation", "share"),
    [
        ("he_normal", "relu", 1.0),
        ("he_uniform", "relu", 1.0),
        ("he_normal", {"leaky_relu": {"alpha": 0.5}}, 1.0),
        ("he_uniform", {"prelu": {"initial": 0.25}}, 1.0),
        ("book_uniform", "relu", 1.0),
        ("lecun_normal", "selu", 1.0),
        ("lecun_uniform", "identity", 1.0),
        ("xavier_normal", "identity", 1.0),
        ("xavier_uniform", "identity", 1.0),
        ("orthogonal", "identity", 1.0),
        ("book_normal", "identity", 1.0),
        ("xavier_normal", "relu", 0.5),
        ({"orthogonal": {"gain": 2.0}}, "identity", 4.0),
        ("normal", "relu", 0.01**2 * 256 / 2),
        ({"normal": {"sigma": 1.0}}, "relu", 256 / 2),
    ],
    ids=str,
)
def test_variance_of_a_signal_through_ten_layers(
    scheme: Any, activation: Any, share: float
) -> None:
    """What a layer makes of the mean square of its input, in the mean over layers 2 to 10."""
    model = check(
        Config, {"model": {"hidden": [256] * 10, "init": scheme, "activation": activation}}
    ).model
    net = network(model, inputs=256, classes=2)
    generator = np.random.default_rng(1)
    arrays = {name: start.draw(generator)[None] for name, start in net.learned.items()}
    x = generator.standard_normal((100, 256))
    first, last = (applied(net.layers[:parts], arrays, x, 100) for parts in (2, 20))
    found = np.square(last).mean() / np.square(first).mean()
    assert found ** (1 / 9) == pytest.approx(share, rel=0.1)
