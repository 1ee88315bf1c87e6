"""The same training in PyTorch: the same weights and batches give the same nets, in float64."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_gradients import ACTIVATION_CASES
from tests.trainer.twins import (
    EPOCHS,
    RATE,
    REPLICATES,
    SEED,
    Optimise,
    Schedule,
    compare,
    nn,
    torch,
)
from trainer.config import Config
from trainer.data import Data
from trainer.dropout import KINDS
from trainer.training import train


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """All in float64, NAdam's product too; nets so small that threads would only wait."""
    before = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_num_threads(before[0])
    torch.set_default_dtype(before[1])


def exact(model: dict[str, Any] | None = None, **training: Any) -> Config:
    fields = {"epochs": EPOCHS, "learning_rate": RATE, "precision": "float64"}
    fields |= {"optimizer": "momentum"}
    return config({"activation": "tanh"} | (model or {}), **fields | training)


@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("active", ACTIVATION_CASES, ids=str)
def test_activations_and_batch_norm(active: Any, place: str) -> None:
    compare(exact({"activation": active, "batch_norm": place}))


def test_momentum_and_epsilon_of_batch_norm() -> None:
    norm = {"before": {"epsilon": 0.1, "momentum": 0.7}}
    compare(exact({"batch_norm": norm, "hidden": [9, 8, 7]}))


@pytest.mark.parametrize("where", ["all", "before_bn", "after_last_bn"])
@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_dropout(kind: str, place: str, where: str) -> None:
    dropout = {"rate": 0.3, "kind": kind, "where": where, "input": 0.2}
    compare(exact({"activation": "elu", "batch_norm": place, "dropout": dropout}))


def decayed(made: Any, decay: float, **options: Any) -> Optimise:
    """With weight decay of the weights alone."""
    return lambda weights, others, rate: made(
        [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}],
        rate,
        **options,
    )


EPSILON = 1e-4
"""Large enough that rounding in a gradient that is nearly 0 does not become a step."""

OPTIMISE: dict[str, tuple[dict[str, Any], Optimise]] = {
    "sgd": ({"optimizer": "sgd"}, decayed(torch.optim.SGD, 0.0)),
    "momentum": ({"optimizer": "momentum"}, decayed(torch.optim.SGD, 0.0, momentum=0.9)),
    "nesterov": (
        {"optimizer": {"nesterov": {"momentum": 0.8}}},
        decayed(torch.optim.SGD, 0.0, momentum=0.8, nesterov=True),
    ),
    "adagrad": (
        {"optimizer": {"adagrad": {"epsilon": EPSILON}}},
        decayed(torch.optim.Adagrad, 0.0, eps=EPSILON),
    ),
    "rmsprop": (
        {"optimizer": {"rmsprop": {"epsilon": EPSILON}}},
        decayed(torch.optim.RMSprop, 0.0, alpha=0.9, eps=EPSILON),
    ),
    "adam": (
        {"optimizer": {"adam": {"beta1": 0.8, "beta2": 0.99, "epsilon": EPSILON}}},
        decayed(torch.optim.Adam, 0.0, betas=(0.8, 0.99), eps=EPSILON),
    ),
    "adamw": (
        {"optimizer": {"adamw": {"weight_decay": 0.3, "epsilon": EPSILON}}},
        decayed(torch.optim.AdamW, 0.3, eps=EPSILON),
    ),
    "nadam": (
        {"optimizer": {"nadam": {"epsilon": EPSILON}}},
        decayed(torch.optim.NAdam, 0.0, eps=EPSILON),
    ),
    "l2": ({"optimizer": "momentum", "l2": 0.1}, decayed(torch.optim.SGD, 0.1, momentum=0.9)),
    "l2 with adam": (
        {"optimizer": {"adam": {"epsilon": EPSILON}}, "l2": 0.1},
        decayed(torch.optim.Adam, 0.1, eps=EPSILON),
    ),
}


@pytest.mark.parametrize("place", ["none", "after"])
@pytest.mark.parametrize("name", OPTIMISE)
def test_optimisers(name: str, place: str) -> None:
    training, optimise = OPTIMISE[name]
    compare(exact({"activation": "prelu", "batch_norm": place}, **training), optimise=optimise)


lr = torch.optim.lr_scheduler

SCHEDULES: dict[str, tuple[dict[str, Any], Schedule]] = {
    "step": (
        {"schedule": {"step": {"epochs": 1, "factor": 0.3}}},
        lambda optimiser, _steps, _epochs: (lr.StepLR(optimiser, 1, 0.3), False),
    ),
    "exponential": (
        {"schedule": {"exponential": {"epochs": 2}}},
        lambda optimiser, steps, _epochs: (
            lr.ExponentialLR(optimiser, 10 ** (-1 / 2 / steps)),
            True,
        ),
    ),
    "power": (
        {"schedule": {"power": {"epochs": 2, "power": 1.5}}},
        lambda optimiser, steps, _epochs: (
            lr.LambdaLR(optimiser, lambda step: (1 + step / steps / 2) ** -1.5),
            True,
        ),
    ),
    "piecewise": (
        {"schedule": {"piecewise": {"after": [1, 2], "factors": [0.2, 0.04]}}},
        lambda optimiser, _steps, _epochs: (lr.MultiStepLR(optimiser, [1, 2], 0.2), False),
    ),
    "cosine": (
        {"schedule": {"cosine": {"floor": 0.1}}},
        lambda optimiser, steps, epochs: (
            lr.CosineAnnealingLR(optimiser, steps * epochs, 0.1 * RATE),
            True,
        ),
    ),
    "one_cycle": (
        {"schedule": "one_cycle"},
        lambda optimiser, steps, epochs: (
            lr.OneCycleLR(optimiser, RATE, steps * epochs, cycle_momentum=False),
            True,
        ),
    ),
    "warmup": (
        {"warmup": 2},
        lambda optimiser, steps, _epochs: (
            lr.LinearLR(optimiser, 1 / (2 * steps), total_iters=2 * steps - 1),
            True,
        ),
    ),
    "plateau": (
        {"schedule": {"plateau": {"patience": 2, "factor": 0.1}}, "epochs": 12, "l2": 1.0},
        lambda optimiser, _steps, _epochs: (
            lr.ReduceLROnPlateau(optimiser, factor=0.1, patience=1, threshold=0),
            None,
        ),
    ),
}


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, optimizer: str) -> None:
    training, schedule = SCHEDULES[name]
    decay = training.get("l2", 0.0)
    made = (
        decayed(torch.optim.Adam, decay)
        if optimizer == "adam"
        else decayed(torch.optim.SGD, decay, momentum=0.9)
    )
    compare(exact(optimizer=optimizer, **training), optimise=made, schedule=schedule)


def test_the_plateau_is_reached() -> None:
    """Else the comparison above would be one of constant rates."""
    training, _ = SCHEDULES["plateau"]
    made = Data((fold(),), 3)
    for optimizer in ("momentum", "adam"):
        cfg = exact(optimizer=optimizer, **training)
        found = train(cfg, made, None, 12, seed=SEED, replicates=REPLICATES).history
        assert (found["learning_rate"][-1] < RATE).any()


def test_clipping_by_value() -> None:
    compare(exact(clip_value=0.01), clip=lambda given: nn.utils.clip_grad_value_(given, 0.01))


def test_clipping_by_norm() -> None:
    def clip(given: list[Any]) -> None:
        """PyTorch's own adds 1e-6 to the norm."""
        norm = nn.utils.get_total_norm([each.grad for each in given])
        for each in given:
            each.grad.mul_(0.1 / max(0.1, float(norm)))

    compare(
        exact(clip_norm=0.1, optimizer="sgd", learning_rate=0.5),
        optimise=decayed(torch.optim.SGD, 0.0),
        clip=clip,
    )


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing(smoothing: float) -> None:
    compare(exact(label_smoothing=smoothing))


@pytest.mark.parametrize("hidden", [[], [7, 5]])
def test_binary_cross_entropy(hidden: list[int]) -> None:
    compare(exact({"hidden": hidden}, loss="binary_cross_entropy"), classes=2)


def test_squared_error() -> None:
    def objective(scores: Any, labels: Any) -> Any:
        hot = nn.functional.one_hot(labels, 3).double()
        return nn.MSELoss(reduction="sum")(scores.softmax(1), hot) / len(hot)

    compare(exact(loss="squared_error"), objective=objective)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("place", ["none", "before", "after"])
def test_mean_squared_error(place: str, count: int) -> None:
    model = {"batch_norm": place, "dropout": 0.3}
    compare(exact(model, loss="mean_squared_error"), classes=count)
