"""The same training in PyTorch: the same weights and batches give the same nets, in float64."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_gradients import ACTIVATION_CASES
from trainer.activations import pieces
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data, Fold
from trainer.dropout import KINDS, kept
from trainer.group import batches
from trainer.network import dropped, network
from trainer.state import weights
from trainer.streams import Purpose, generator
from trainer.tape import words
from trainer.tasks import REGRESSION
from trainer.training import train

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
nn = torch.nn


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """All in float64, NAdam's product too; nets so small that threads would only wait."""
    before = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_num_threads(before[0])
    torch.set_default_dtype(before[1])


EPOCHS, SEED, REPLICATES, TOLERANCE, RATE = 3, 4, 2, 1e-9, 0.01
"""Epochs have 8 steps."""


class Maxout(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, z: Any) -> Any:
        return z.unflatten(-1, (self.count, -1)).amax(dim=-2)


class Drop(nn.Module):  # type: ignore[misc,name-defined]
    """Multiplies by a mask that is put there before each step."""

    def __init__(self, kind: str, units: int, rate: float, beta: float) -> None:
        super().__init__()
        self.kind, self.units, self.rate, self.beta = kind, units, rate, beta

    def put(self, bits: Array) -> None:
        if self.kind == "uout":
            factor = 1 + self.beta * ((2 * bits.astype(float) + 1) / 65536 - 1)
        else:
            factor = (bits >= round(self.rate * 65536)).astype(float)
            factor /= kept(self.rate) if self.kind in ("inverted", "spatial") else 1
        self.factor = torch.tensor(factor)

    def forward(self, x: Any) -> Any:
        if self.training:
            return x * self.factor
        return x * kept(self.rate) if self.kind == "vanilla" else x


def activation(cfg: Config, units: int) -> Any:
    technique = cfg.model.activation
    given = technique.parameters
    made: dict[str, Callable[[], Any]] = {
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "relu": nn.ReLU,
        "leaky_relu": lambda: nn.LeakyReLU(given["alpha"]),
        "prelu": lambda: nn.PReLU(1 if given["slopes"].name == "shared" else units),
        "elu": lambda: nn.ELU(given["alpha"]),
        "maxout": lambda: Maxout(given["pieces"]),
        "selu": nn.SELU,
        "gelu": lambda: nn.GELU("tanh"),
        "silu": nn.SiLU,
        "softplus": nn.Softplus,
        "softsign": nn.Softsign,
        "identity": nn.Identity,
    }
    return made[technique.name]()


class Twin:
    """The net of a configuration in PyTorch, with the weights of one replicate."""

    def __init__(self, cfg: Config, inputs: int, classes: int, start: dict[str, Array]) -> None:
        model, norm, drop = cfg.model, cfg.model.batch_norm, cfg.model.dropout
        beta = drop.kind.parameters.get("beta", 0.0)
        layers: list[Any] = []
        if drop.input:
            kind = "vanilla" if drop.kind.name == "vanilla" else "inverted"
            layers.append(Drop(kind, inputs, drop.input, beta))
        width = inputs
        for index, units in enumerate((*model.hidden, 1 if cfg.training.binary else classes)):
            last = index == len(model.hidden)
            wide = units if last else units * pieces(model.activation)
            linear = nn.Linear(width, wide, bias=last or norm.name != "before")
            layers.append(linear)
            width = units
            if last:
                continue
            active = activation(cfg, units)
            if norm.name != "none":
                size = units if norm.name == "after" else wide
                normal = nn.BatchNorm1d(size, eps=norm["epsilon"], momentum=norm["momentum"])
            place = dropped(model, index)
            size = units if norm.name == "after" else wide
            early = [Drop(drop.kind.name, size, drop.rate, beta)] if place == "before_bn" else []
            if norm.name == "before":
                layers += [*early, normal, active]
            elif norm.name == "after":
                layers += [active, *early, normal]
            else:
                layers.append(active)
            if place == "end":
                layers.append(Drop(drop.kind.name, units, drop.rate, beta))
        self.net = nn.Sequential(*layers)
        with torch.no_grad():
            for name, part in self.parts():
                found = torch.tensor(start[name])
                part.copy_(found.T if name.endswith("weight") else found)

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Parameters and running statistics by our names, as they are now."""
        linear = [each for each in self.net if isinstance(each, nn.Linear)]
        for index, each in enumerate(linear):
            yield f"{index}.weight", each.weight
            if each.bias is not None:
                yield f"{index}.bias", each.bias
        norms = [each for each in self.net if isinstance(each, nn.BatchNorm1d)]
        for index, each in enumerate(norms):
            yield f"{index}.gamma", each.weight
            yield f"{index}.beta", each.bias
            yield f"{index}.mean", each.running_mean
            yield f"{index}.variance", each.running_var
        for index, each in enumerate(e for e in self.net if isinstance(e, nn.PReLU)):
            yield f"{index}.slope", each.weight

    def masks(self, bits: Array, rows: int) -> None:
        """Hands the step's random words to the layers that drop."""
        start = 0
        for each in self.net:
            if isinstance(each, Drop):
                size = rows * each.units
                each.put(bits[start : start + size].reshape(rows, each.units))
                start += words((1, rows, each.units))

    def arrays(self) -> dict[str, Array]:
        """As `state.weights` has them."""
        return {
            name: (part.T if name.endswith("weight") else part).detach().numpy().copy()
            for name, part in self.parts()
        }


Optimise = Callable[[list[Any], list[Any], float], Any]
"""Makes an optimiser of weights, other parameters and a learning rate."""

Schedule = Callable[[Any, int, int], tuple[Any, bool | None]]
"""Makes a schedule of an optimiser, steps an epoch and epochs; and whether it counts steps, epochs
(False) or is told the validation loss (None)."""


def momentum(weights: list[Any], others: list[Any], rate: float) -> Any:
    return torch.optim.SGD([*weights, *others], rate, momentum=0.9)


def compare(
    cfg: Config,
    *,
    optimise: Optimise = momentum,
    schedule: Schedule | None = None,
    clip: Callable[[list[Any]], None] = lambda _parameters: None,
    objective: Callable[[Any, Any], Any] | None = None,
    classes: int = 3,
) -> None:
    """Trains in both and compares all arrays after every epoch.

    `objective` is what is trained on if it is not what is reported. Numbers to predict are of
    variance 1 already, so that their scale changes nothing.
    """
    regression = cfg.training.task is REGRESSION
    made = numbers(classes) if regression else fold(classes=classes)
    data = Data((made,), 0 if regression else classes)
    inputs, total = made.x_train.shape[1], cfg.training.epochs
    sizes = batches(len(made.y_train), cfg.training.batch_size)
    state = train(cfg, data, None, 0, seed=SEED, replicates=REPLICATES).state
    start = weights(cfg, state)
    states = []
    for until in range(1, total + 1):
        state = train(cfg, data, state, until, seed=SEED, replicates=REPLICATES).state
        states.append(state)
    net = network(cfg.model, inputs=inputs, classes=classes, binary=cfg.training.binary)
    for replicate in range(REPLICATES):
        twin = Twin(cfg, inputs, classes, {name: a[replicate] for name, a in start.items()})
        parts = dict(twin.parts())
        regularised = [part for name, part in parts.items() if name.endswith("weight")]
        rest = [
            part
            for name, part in parts.items()
            if not name.endswith(("weight", "mean", "variance"))
        ]
        optimiser = optimise(regularised, rest, cfg.training.learning_rate)
        pace, stepwise = schedule(optimiser, len(sizes), total) if schedule else (None, False)
        loss = (
            nn.BCEWithLogitsLoss()
            if cfg.training.binary
            else nn.CrossEntropyLoss(label_smoothing=cfg.training.label_smoothing)
        )
        loss = nn.MSELoss() if regression else loss
        trained = loss if objective is None else objective

        def target(y: Array) -> Any:
            labels = torch.tensor(y)
            if regression:
                return labels
            return labels.double()[:, None] if cfg.training.binary else labels

        for epoch in range(1, total + 1):
            key: dict[str, int] = {"seed": SEED, "replicate": replicate, "epoch": epoch}
            order = generator(purpose=Purpose.ORDER, **key).permutation(len(made.y_train))
            stream = generator(purpose=Purpose.DROPOUT, **key).bit_generator
            at = 0
            twin.net.train()
            for size in sizes:
                rows, at = order[at : at + size], at + size
                twin.masks(stream.random_raw(net.random(size) // 4).view(np.uint16), size)
                optimiser.zero_grad()
                x = torch.tensor(made.x_train[rows], dtype=torch.float64)
                trained(twin.net(x), target(made.y_train[rows])).backward()
                clip([*regularised, *rest])
                optimiser.step()
                if pace is not None and stepwise:
                    pace.step()
            twin.net.eval()
            with torch.no_grad():
                x = torch.tensor(made.x_val, dtype=torch.float64)
                held = loss(twin.net(x), target(made.y_val)).item()
            if pace is not None and stepwise is not True:
                pace.step(held) if stepwise is None else pace.step()
            found = weights(cfg, states[epoch - 1])
            assert found.keys() == parts.keys()
            for name, array in twin.arrays().items():
                # of the whole array: single numbers, or all before a batch norm, may stay near 0
                within = max(TOLERANCE * abs(array).max(), 1e-12)
                np.testing.assert_allclose(
                    found[name][replicate], array, rtol=0, atol=within, err_msg=name
                )
            if not cfg.training.label_smoothing:
                reported = states[epoch - 1]["metrics.val_loss"][replicate]
                assert reported == pytest.approx(held, rel=TOLERANCE)


def numbers(count: int) -> Fold:
    """Rows with so many numbers to predict, each of mean 0 and variance 1 in training."""
    made = fold()
    generator = np.random.default_rng(8)
    slopes = generator.standard_normal((made.x_train.shape[1], count))
    y_train, y_val = (
        np.tanh(x @ slopes) + 0.1 * generator.standard_normal((len(x), count))
        for x in (made.x_train, made.x_val)
    )
    mean, spread = y_train.mean(axis=0), y_train.std(axis=0)
    return Fold(made.x_train, (y_train - mean) / spread, made.x_val, (y_val - mean) / spread)


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
