"""Running statistics found anew: those of all training rows with dropout off, and nothing else."""

from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_replicates import assert_same
from trainer import prediction
from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.data import Data
from trainer.prediction import Evaluation, network_of
from trainer.rules import ConfigError
from trainer.state import weights
from trainer.training import train

IMAGE = Image(1, 4, 4)
CNN = {"architecture": {"cnn": {"channels": [2]}}}
DROPOUT = {"rate": 0.5, "where": "before_bn"}


def data(*seeds: int) -> Data:
    return Data(tuple(fold(61, features=16, seed=seed) for seed in seeds or (0,)), 3, IMAGE)


def made(place: str, model: dict[str, Any], *, reestimate: bool = True, **training: Any) -> Config:
    norm = {place: {"reestimate": reestimate}}
    return config(
        {"activation": "tanh", "dropout": DROPOUT, "batch_norm": norm} | model, **training
    )


@pytest.mark.parametrize("kind", ["inverted", "vanilla", "uout"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_plain_forward_pass_without_dropout(
    place: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "ROWS", 16)  # several blocks, the last one smaller
    dropout = DROPOUT | {"kind": kind, "input": 0.25}
    cfg = made(place, {"dropout": dropout}, precision="float64")
    found = weights(cfg, train(cfg, data(), None, 2, seed=0, replicates=2).state)
    for replicate in range(2):
        mine = {name: array[replicate] for name, array in found.items()}
        x = data().folds[0].x_train.astype(float)
        if kind == "vanilla":
            x = x * 0.75
        for layer in ("0", "1"):
            z = x @ mine[f"{layer}.weight"] + mine.get(f"{layer}.bias", 0)
            z = np.tanh(z) if place == "after" else z
            z = z * 0.5 if kind == "vanilla" else z
            mean, variance = mine[f"{layer}.mean"], mine[f"{layer}.variance"]
            np.testing.assert_allclose(mean, z.mean(axis=0), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(variance, z.var(axis=0, ddof=1), rtol=1e-9)
            z = (z - mean) / np.sqrt(variance + 1e-5)
            z = mine[f"{layer}.gamma"] * z + mine[f"{layer}.beta"]
            x = np.tanh(z) if place == "before" else z


@pytest.mark.parametrize("model", [{}, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_what_enters_in_prediction_has_these_statistics(place: str, model: dict[str, Any]) -> None:
    for reestimate in (True, False):
        cfg = made(place, model, reestimate=reestimate, precision="float64")
        found = weights(cfg, train(cfg, data(), None, 2, seed=0, replicates=2).state)
        x, y = data().folds[0].x_train.astype(float), data().folds[0].y_train
        evaluation = Evaluation(network_of(cfg, found), found, x[None], y[None])
        evaluation()
        for layer in range(cfg.model.depth):
            entering: Array = evaluation.marks[f"{layer}.entering"]
            near = np.allclose(found[f"{layer}.variance"], entering.var(axis=1, ddof=1), rtol=1e-9)
            near &= np.allclose(found[f"{layer}.mean"], entering.mean(axis=1), atol=1e-12)
            assert near == reestimate


@pytest.mark.parametrize("model", [{}, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("folds", [(0,), (0, 1, 2)], ids=["one", "folds"])
def test_training_does_not_notice_and_bits_are_kept(
    model: dict[str, Any], folds: tuple[int, ...]
) -> None:
    given, cfg = data(*folds), made("before", model)
    whole = train(cfg, given, None, 4, seed=2, replicates=3)
    plain = train(made("before", model, reestimate=False), given, None, 4, seed=2, replicates=3)
    np.testing.assert_array_equal(whole.state["parameters"], plain.state["parameters"])
    assert (whole.state["running"] != plain.state["running"]).any()
    half = train(cfg, given, None, 2, seed=2, replicates=3)
    assert_same(train(cfg, given, half.state, 4, seed=2, replicates=3).state, whole.state)
    alone = train(cfg, data(folds[-1]), None, 4, seed=2, replicates=1, first=2)
    np.testing.assert_array_equal(alone.state["running"][0], whole.state["running"][2])
    ratios = [whole.history[f"health/variance_ratio_{i}"] for i in (1, 2)]
    assert np.isfinite(ratios).all()


def test_it_is_refused_on_a_gpu() -> None:
    with pytest.raises(ConfigError, match=r"batch_norm\.after\.reestimate: must be false on a"):
        train(made("after", {}), data(), None, 1, seed=0, replicates=1, device=object())  # type: ignore[arg-type]
