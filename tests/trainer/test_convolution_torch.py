"""The same convolutions in PyTorch: the same weights and batches give the same nets, in float64."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from trainer import convolution
from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.data import Data
from trainer.dropout import kept
from trainer.group import batches
from trainer.network import images, network
from trainer.state import weights
from trainer.streams import Purpose, generator
from trainer.tape import words
from trainer.training import train

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
nn = torch.nn

EPOCHS, SEED, REPLICATES, RATE = 3, 4, 2, 0.02
IMAGE = Image(2, 7, 6)


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    before = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_num_threads(before[0])
    torch.set_default_dtype(before[1])


class Channels(nn.Module):  # type: ignore[misc,name-defined]
    """Drops whole channels by a mask that is put there before each step."""

    def __init__(self, units: int, rate: float) -> None:
        super().__init__()
        self.units, self.rate = units, rate

    def forward(self, x: Any) -> Any:
        return x * self.mask if self.training else x


class Twin:
    """The net in PyTorch, one replicate; `parts` maps our arrays to its tensors."""

    def __init__(self, cfg: Config, start: dict[str, Array], classes: int) -> None:
        model, cnn = cfg.model, cfg.model.architecture
        active = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU}[model.activation.name]
        self.parts: dict[str, Any] = {}
        self.drops: list[Channels] = []
        modules: list[Any] = []
        shapes = list(images(model, IMAGE))
        size, depth = int(cnn["kernel"]), IMAGE.channels
        pad = (size - 1) // 2 if cnn["padding"].name == "same" else 0
        for index, channels in enumerate(model.channels):
            bias = model.batch_norm.name != "before"
            part = nn.Conv2d(depth, channels, size, int(cnn["stride"]), pad, bias=bias)
            self._take(index, part, start, (size, size, depth, channels))
            norm = nn.BatchNorm2d(channels) if model.batch_norm.name != "none" else None
            block = (
                [part, active(), norm]
                if model.batch_norm.name == "after"
                else [part, norm, active()]
            )
            modules += [each for each in block if each is not None]
            if norm is not None:
                self._norm(index, norm)
            if model.dropout.rate:
                self.drops.append(Channels(channels, model.dropout.rate))
                modules.append(self.drops[-1])
            if cnn["pool"].name == "max":
                modules.append(nn.MaxPool2d(int(cnn["pool_size"])))
            elif cnn["pool"].name == "average":
                modules.append(nn.AvgPool2d(int(cnn["pool_size"])))
            depth = channels
        self.images = nn.Sequential(*modules)
        last = shapes[-1]
        head = nn.Linear(last.channels * last.pixels, classes)
        self._take(len(model.channels), head, start, None)
        self.head = head

    def _take(self, index: int, part: Any, start: dict[str, Array], kernel: Any) -> None:
        given = torch.tensor(start[f"{index}.weight"])
        with torch.no_grad():
            given = given.T if kernel is None else given.reshape(kernel).permute(3, 2, 0, 1)
            part.weight.copy_(given)
            self.parts[f"{index}.weight"] = part.weight
            if part.bias is not None:
                part.bias.copy_(torch.tensor(start[f"{index}.bias"]))
                self.parts[f"{index}.bias"] = part.bias

    def _norm(self, index: int, norm: Any) -> None:
        self.parts |= {
            f"{index}.gamma": norm.weight,
            f"{index}.beta": norm.bias,
            f"{index}.mean": norm.running_mean,
            f"{index}.variance": norm.running_var,
        }

    def parameters(self) -> list[Any]:
        return [part for part in self.parts.values() if part.requires_grad]

    def mode(self, training: bool) -> None:
        self.images.train(training)

    def __call__(self, x: Array) -> Any:
        found = self.images(torch.tensor(x.reshape(-1, *IMAGE), dtype=torch.float64))
        return self.head(found.permute(0, 2, 3, 1).flatten(1))

    def masks(self, bits: Array, rows: int) -> None:
        start = 0
        for each in self.drops:
            threshold = round(each.rate * 65536)
            word = bits[start : start + rows * each.units].reshape(rows, each.units, 1, 1)
            each.mask = torch.tensor((word >= threshold) / kept(each.rate))
            start += words((1, rows, each.units))

    def arrays(self) -> dict[str, Array]:
        found = {}
        for name, part in self.parts.items():
            array = part.detach()
            if array.ndim == 4:
                array = array.permute(2, 3, 1, 0).flatten(0, 2)
            elif array.ndim == 2:
                array = array.T
            found[name] = array.numpy().copy()
        return found


CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"pool": "average"}, {"batch_norm": "before"}),
    ({"pool": "none", "padding": "valid", "channels": [3, 5]}, {"batch_norm": "after"}),
    ({"kernel": 2, "padding": "valid", "channels": [4]}, {"activation": "elu"}),
    ({"kernel": 5, "stride": 2, "channels": [4, 3], "pool": "none"}, {"batch_norm": "before"}),
    ({"kernel": 1, "pool_size": 3, "channels": [4]}, {"batch_norm": "after"}),
    ({"channels": [4, 5]}, {"dropout": {"rate": 0.4, "kind": "spatial"}, "batch_norm": "before"}),
]


@pytest.mark.parametrize("block", [convolution.BLOCK, 3000])
@pytest.mark.parametrize(("cnn", "model"), CASES, ids=str)
def test_training(
    cnn: dict[str, Any], model: dict[str, Any], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "BLOCK", block)
    given = {
        "activation": "relu",
        "hidden": [],
        "architecture": {"cnn": {"channels": [3, 4]} | cnn},
    }
    fields: dict[str, Any] = {"epochs": EPOCHS, "learning_rate": RATE, "optimizer": "momentum"}
    cfg = config(given | model, precision="float64", batch_size=9, **fields)
    made = fold(61, features=IMAGE.channels * IMAGE.pixels)
    data = Data((made,), 3, IMAGE)
    states = [train(cfg, data, None, 0, seed=SEED, replicates=REPLICATES).state]
    for until in range(1, EPOCHS + 1):
        step = train(cfg, data, states[-1], until, seed=SEED, replicates=REPLICATES)
        states.append(step.state)
    net = network(cfg.model, inputs=IMAGE.channels * IMAGE.pixels, classes=3, image=IMAGE)
    start = weights(cfg, states[0])
    for replicate in range(REPLICATES):
        twin = Twin(cfg, {name: a[replicate] for name, a in start.items()}, 3)
        optimiser = torch.optim.SGD(twin.parameters(), RATE, momentum=0.9)
        for epoch in range(1, EPOCHS + 1):
            key: dict[str, int] = {"seed": SEED, "replicate": replicate, "epoch": epoch}
            order = generator(purpose=Purpose.ORDER, **key).permutation(61)
            stream = generator(purpose=Purpose.DROPOUT, **key).bit_generator
            twin.mode(True)
            at = 0
            for size in batches(61, 9):
                rows, at = order[at : at + size], at + size
                twin.masks(stream.random_raw(net.random(size) // 4).view(np.uint16), size)
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(
                    twin(made.x_train[rows]), torch.tensor(made.y_train[rows])
                )
                loss.backward()
                optimiser.step()
            twin.mode(False)
            with torch.no_grad():
                held = nn.functional.cross_entropy(twin(made.x_val), torch.tensor(made.y_val))
            found = weights(cfg, states[epoch])
            assert found.keys() - {"image"} == twin.arrays().keys()
            for name, array in twin.arrays().items():
                within = max(1e-9 * abs(array).max(), 1e-12)
                np.testing.assert_allclose(
                    found[name][replicate], array, rtol=0, atol=within, err_msg=name
                )
            reported = states[epoch]["metrics.val_loss"][replicate]
            assert reported == pytest.approx(held.item(), rel=1e-9)
