"""On a real GPU: the same training as on the processor. Skips where there is none."""

from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from trainer.config import Config
from trainer.data import Data
from trainer.device import Device, DeviceError, Program, opened
from trainer.protocol import Progress
from trainer.training import train

STEPS = 50


@pytest.fixture(scope="module")
def device() -> Device:
    try:
        return opened()
    except DeviceError as error:
        pytest.skip(str(error))


def trained(cfg: Config, data: Data, device: Device | None, epochs: int) -> Progress:
    return train(cfg, data, None, epochs, seed=0, replicates=3, device=device)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "prelu", {"maxout": {"pieces": 2}}])
@pytest.mark.parametrize("place", ["none", "before", "after"])
def test_fifty_steps_agree(activation: Any, place: str, device: Device) -> None:
    """SGD without dropout, as Adam flips signs on rounding and the generators differ."""
    data = Data((fold(STEPS // 5 * 8 - 3),), 3)  # ten batches an epoch, the last one ragged
    cfg = config({"activation": activation, "batch_norm": place}, optimizer="sgd")
    here, there = (trained(cfg, data, each, 5) for each in (None, device))
    np.testing.assert_allclose(there.state["parameters"], here.state["parameters"], atol=1e-4)
    np.testing.assert_allclose(there.state["running"], here.state["running"], atol=1e-4)
    for name in ("train_loss", "val_loss"):
        np.testing.assert_allclose(there.history[name], here.history[name], atol=1e-4)


def test_repeats_itself(device: Device) -> None:
    cfg = config({"dropout": 0.3, "batch_norm": "before"})
    one, other = (trained(cfg, Data((fold(),), 3), device, 5) for _ in range(2))
    np.testing.assert_array_equal(one.state["parameters"], other.state["parameters"])


def test_dropout_learns_as_well(device: Device) -> None:
    cfg = config({"dropout": 0.3}, epochs=30)
    here, there = (trained(cfg, Data((fold(200),), 3), each, 30) for each in (None, device))
    found = there.metrics["val_loss"].mean()
    np.testing.assert_allclose(found, here.metrics["val_loss"].mean(), rtol=0.3)


def test_steps_run_as_a_graph(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a plain net has to fall back."""
    graphs, captured = [], Program._captured

    def noted(program: Program) -> Any:
        graphs.append(captured(program))
        return graphs[-1]

    monkeypatch.setattr(Program, "_captured", noted)
    trained(config({"batch_norm": "before", "dropout": 0.2}), Data((fold(),), 3), device, 3)
    assert len(graphs) == 3  # a full step, the ragged one, the evaluation
    assert None not in graphs
