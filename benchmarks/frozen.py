"""Training above frozen layers, whose outputs are made once or anew for each mini-batch.

Ours is what `train` does: frozen layers are applied once to all rows, and the rest is trained on
what comes out. The peer is the same net, whose steps begin with the frozen layers' forward pass on
their own rows; what lies above gets the same inputs but for rounding, since the bits of a matrix
product depend on its shape. Data are noise: the time does not depend on what is in them.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.report import Row, row
from trainer import reading
from trainer.arrays import Array, Memory
from trainer.config import Config
from trainer.convolution import Image
from trainer.data import Data, Fold
from trainer.group import Group, Rows
from trainer.layers import Layer
from trainer.network import Network, above, below
from trainer.optimisers import OPTIMISERS
from trainer.state import State, frozen, weights
from trainer.tape import Backward, Tape, Variable
from trainer.training import train
from trainer.transfer import mapped


@dataclass(frozen=True)
class Work:
    """What is trained: a net on so many rows, of which the lowest layers are frozen."""

    name: str
    model: dict[str, Any]
    image: Image
    rows: int
    freeze: int
    epochs: int = 10
    batch: int = 128
    precision: str = "float32"

    def config(self) -> Config:
        """The net and its training."""
        start = {"source": "noise", "freeze": self.freeze}
        training = {"batch_size": self.batch, "epochs": self.epochs, "precision": self.precision}
        return reading.check(
            Config, {"model": self.model | {"start_from": start}, "training": training}
        )

    def data(self) -> Data:
        """Rows of noise, and a model to start from that has learnt nothing."""
        generator = np.random.default_rng(0)
        x = generator.standard_normal((self.rows, int(np.prod(self.image))), np.float32)
        y = generator.integers(0, 10, self.rows)
        fold = Fold(x, y, x[:1], y[:1])
        bare = reading.check(
            Config, {"model": self.model, "training": {"precision": self.precision}}
        )
        untrained = train(bare, Data((fold,), 10, self.image), None, 0, seed=1, replicates=1)
        source = weights(bare, untrained.state)
        return Data((fold,), 10, self.image, {"noise": source})


WORKS = (
    Work(
        "784-512-512-256-10, 2 of 3 frozen",
        {"hidden": [512, 512, 256]},
        Image(1, 28, 28),
        rows=12_800,
        freeze=2,
    ),
    Work(
        "28 × 28, convolutions 16, 32 frozen, then 128-10",
        {"architecture": {"cnn": {"channels": [16, 32]}}, "hidden": [128]},
        Image(1, 28, 28),
        rows=2_560,
        freeze=2,
    ),
)


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """The time of all epochs, what is made once included, on one thread."""
    rows = []
    with threadpool_limits(1):
        for work in WORKS:
            config, data = work.config(), work.data()
            begun = train(config, data, None, 0, seed=0, replicates=1).state
            timed = [
                (_seconds(once, config, data, begun), _seconds(anew, config, data, begun))
                for _ in range(1 if quick else 5)
            ]
            ours, peer = (statistics.median(each) for each in zip(*timed, strict=True))
            ratio = statistics.median(mine / theirs for mine, theirs in timed)
            name = f"{work.name}: seconds of {work.epochs} epochs, outputs kept / made anew"
            rows.append(row(name, ours, peer, ratio, 1.0))
    return rows, {"threads": 1}


def _seconds(
    contender: Callable[[Config, Data, State], Array], config: Config, data: Data, begun: State
) -> float:
    started = time.perf_counter()
    contender(config, data, begun)
    return time.perf_counter() - started


def once(config: Config, data: Data, begun: State) -> Array:
    """The parameters (1, P) after all epochs on outputs that were made once."""
    net = _above(config, data)
    return _trained(config, net, mapped(data, config, frozen(begun)).folds[0], begun)


def anew(config: Config, data: Data, begun: State) -> Array:
    """The same with the frozen layers in every step; all convolutions or none are frozen."""
    lower = below(config.model, inputs=data.folds[0].x_train.shape[1], image=data.image)
    held, upper = frozen(begun), _above(config, data)
    variables = {name: Variable(array, array) for name, array in held.items()}

    def write(tape: Tape, x: Array) -> tuple[Array, Backward]:
        under = Tape(Memory(), variables=variables, running=held, training=False)
        for layer in lower.layers:
            x, _ = layer.write(under, x)
        tape.add(under.run)
        return x, lambda dy: dy  # the layer above does not make the gradient by x

    net = Network((Layer(write), *upper.layers), lower.inputs, upper.classes, lower.most)
    return _trained(config, net, data.folds[0], begun)


def _above(config: Config, data: Data) -> Network:
    inputs = data.folds[0].x_train.shape[1]
    return above(config.model, inputs=inputs, classes=data.classes, image=data.image)


def _trained(config: Config, net: Network, fold: Fold, begun: State) -> Array:
    training = config.training
    names = ("parameters", "running", *OPTIMISERS[training.optimizer.name].slots)
    arrays = {name: begun[name].copy() for name in names}
    rows = Rows((np.asarray(fold.x_train, arrays["parameters"].dtype),), (fold.y_train,))
    group = Group(
        net,
        training,
        config.model.batch_norm,
        rows,
        arrays,
        replicates=[0],
        seed=0,
        epochs=training.epochs,
    )
    for epoch in range(1, training.epochs + 1):
        group.train(epoch, np.ones((group.steps, 1)))
    return arrays["parameters"]
