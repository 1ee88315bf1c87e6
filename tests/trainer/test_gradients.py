from typing import Any

import pytest

from tests.trainer.gradients import Problem, error
from trainer.activations import ACTIVATIONS
from trainer.dropout import KINDS
from trainer.losses import LOSSES, OF_NUMBERS

TOLERANCE = 1e-6

ACTIVATION_CASES: list[Any] = [
    *(name for name in ACTIVATIONS if name != "maxout"),
    {"leaky_relu": {"alpha": 0.3}},
    {"prelu": {"slopes": "shared", "initial": 0.1}},
    {"elu": {"alpha": 0.5}},
    {"maxout": {"pieces": 2}},
    {"maxout": {"pieces": 3}},
]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("activation", ACTIVATION_CASES, ids=str)
def test_gradient_agrees_with_differences(activation: Any, place: str, dropout: float) -> None:
    problem = Problem({"activation": activation, "batch_norm": place, "dropout": dropout})
    assert error(problem) < TOLERANCE


@pytest.mark.parametrize("where", ["all", "before_bn", "after_last_bn"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("activation", ["prelu", {"maxout": {"pieces": 2}}], ids=str)
def test_gradient_under_every_dropout(activation: Any, place: str, kind: str, where: str) -> None:
    dropout = {"rate": 0.4, "kind": kind, "where": where, "input": 0.2}
    problem = Problem({"activation": activation, "batch_norm": place, "dropout": dropout})
    assert error(problem) < TOLERANCE
    assert error(problem, scale=1.001) > 9e-4


@pytest.mark.parametrize("activation", ACTIVATION_CASES, ids=str)
def test_a_gradient_wrong_by_a_thousandth_fails(activation: Any) -> None:
    assert error(Problem({"activation": activation, "batch_norm": "after"}), scale=1.001) > 9e-4


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("loss", [each for each in LOSSES if each not in OF_NUMBERS])
@pytest.mark.parametrize("hidden", [[], [7, 5]])
def test_gradient_of_every_loss_of_classes(hidden: list[int], loss: str, smoothing: float) -> None:
    model, binary = {"hidden": hidden, "activation": "tanh"}, loss == "binary_cross_entropy"
    problem = Problem(model, loss=loss, binary=binary, smoothing=smoothing)
    assert error(problem) < TOLERANCE
    assert error(problem, scale=1.001) > 9e-4


@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("hidden", [[], [7, 5]])
@pytest.mark.parametrize("loss", OF_NUMBERS)
def test_gradient_of_every_loss_of_numbers(loss: str, hidden: list[int], place: str) -> None:
    problem = Problem({"hidden": hidden, "activation": "tanh", "batch_norm": place}, loss=loss)
    assert error(problem) < TOLERANCE
    assert error(problem, scale=1.001) > 9e-4


@pytest.mark.parametrize("hidden", [[], [3], [4, 1, 5]])
def test_gradient_at_every_depth(hidden: list[int]) -> None:
    assert error(Problem({"hidden": hidden, "activation": "tanh"})) < TOLERANCE
