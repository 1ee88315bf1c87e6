"""Nets of PyTorch that are trained as ours are, batch by batch, and compared."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import fold
from trainer.activations import pieces
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data, Fold
from trainer.dropout import kept
from trainer.group import batches
from trainer.network import dropped, network
from trainer.state import weights
from trainer.streams import Purpose, generator
from trainer.tape import words
from trainer.tasks import REGRESSION
from trainer.training import train

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
nn = torch.nn


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
