"""A trainer of one's own: perceptrons in PyTorch.

python -m sweep run examples/pytorch.yaml --allow-code examples.pytorch
"""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from trainer.arrays import Array
from trainer.data import Data, Fold
from trainer.protocol import Progress
from trainer.state import State

MOMENTUM = "momentum."
"""Before the names of the optimiser's arrays in a state; the others are the net's."""


class Perceptron:
    """Nets with one hidden layer, one a replicate; a study file gives the arguments."""

    def __init__(self, units: int = 64, learning_rate: float = 0.1, batch_size: int = 64) -> None:
        self._units, self._rate, self._batch = units, learning_rate, batch_size

    def train(
        self, data: Data, state: State | None, until: int, *, seed: int, replicates: range
    ) -> Progress:
        """Each epoch draws the order of the rows from (seed, replicate, epoch)."""
        begun = 0 if state is None else int(state["epoch"])
        learnt: dict[str, list[Array]] = {}
        columns: dict[str, list[list[float]]] = {}
        for place, replicate in enumerate(replicates):
            fold = data.fold(place)
            x, y = torch.from_numpy(fold.x_train.copy()), torch.from_numpy(fold.y_train.copy())
            net = self._net(x.shape[1], data.classes, _draw(seed, replicate, 0))
            steps = torch.optim.SGD(net.parameters(), self._rate, momentum=0.9)
            if state is not None:
                _restore(net, steps, state, place)
            rows = []
            for epoch in range(begun + 1, until + 1):
                order = torch.randperm(len(x), generator=_draw(seed, replicate, epoch))
                for batch in order.split(self._batch):
                    steps.zero_grad()
                    cross_entropy(net(x[batch]), y[batch]).backward()
                    steps.step()
                rows.append(_scores(net, fold))
            for name in rows[0]:
                columns.setdefault(name, []).append([each[name] for each in rows])
            for name, tensor in net.named_parameters():
                moved = steps.state[tensor]["momentum_buffer"]
                learnt.setdefault(name, []).append(tensor.detach().numpy())
                learnt.setdefault(f"{MOMENTUM}{name}", []).append(moved.numpy())
        history = {name: np.array(column).T for name, column in columns.items()}
        metrics = {name: values[-1] for name, values in history.items()}
        return Progress({n: np.stack(each) for n, each in learnt.items()}, until, history, metrics)

    def predict_proba(self, state: State, x: Array) -> Array:
        """Class probabilities (R, n, K)."""
        found = []
        for place in range(len(state["0.weight"])):
            net = self._net(x.shape[1], state["2.weight"].shape[1], torch.Generator())
            _restore(net, None, state, place)
            with torch.no_grad():
                found.append(net(torch.from_numpy(x.copy())).softmax(dim=1).numpy())
        return np.stack(found)

    def _net(self, inputs: int, classes: int, generator: torch.Generator) -> Any:
        layers = torch.nn.Linear(inputs, self._units), torch.nn.Linear(self._units, classes)
        with torch.no_grad():
            for layer in layers:
                torch.nn.init.kaiming_normal_(layer.weight, generator=generator)
                layer.bias.zero_()
        return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])


def _draw(seed: int, replicate: int, epoch: int) -> torch.Generator:
    (number,) = np.random.SeedSequence([seed, replicate, epoch]).generate_state(1)
    return torch.Generator().manual_seed(int(number))


def _restore(net: Any, steps: Any, state: State, place: int) -> None:
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            tensor.copy_(torch.from_numpy(state[name][place]))
            if steps is not None:
                moved = torch.from_numpy(state[f"{MOMENTUM}{name}"][place])
                steps.state[tensor]["momentum_buffer"] = moved


def _scores(net: Any, fold: Fold) -> dict[str, float]:
    found = {}
    for part, x, y in (("train", fold.x_train, fold.y_train), ("val", fold.x_val, fold.y_val)):
        labels = torch.from_numpy(y.copy())
        with torch.no_grad():
            odds = net(torch.from_numpy(x.copy()))
        found[f"{part}_loss"] = float(cross_entropy(odds, labels))
        found[f"{part}_accuracy"] = float((odds.argmax(dim=1) == labels).float().mean())
    return found
