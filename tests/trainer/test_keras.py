"""Weights from Keras: the outputs of nets that it has trained, and files that do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer import npz
from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.foreign import ForeignError
from trainer.keras import load
from trainer.prediction import predict
from trainer.reading import check

KEPT = npz.read(Path(__file__).with_name("keras_nets.npz"))
IMAGE = Image(2, 8, 6)
CNN = {"architecture": {"cnn": {"channels": [3, 4]}}, "hidden": [5], "batch_norm": "before"}
MLP = {"hidden": [6, 5], "batch_norm": "after"}


def config(model: dict[str, Any]) -> Config:
    return check(Config, {"model": {"activation": "tanh"} | model})


def arrays(name: str) -> list[Array]:
    """What `get_weights()` gave."""
    count = sum(each.startswith(f"{name}.") for each in KEPT) - 1
    return [KEPT[f"{name}.{place}"] for place in range(count)]


@pytest.mark.parametrize(("name", "model"), [("cnn", CNN), ("mlp", MLP)])
def test_outputs_are_those_of_the_net(tmp_path: Path, name: str, model: dict[str, Any]) -> None:
    np.savez(tmp_path / "net.npz", *arrays(name))
    weights = load(tmp_path / "net.npz", config(model), IMAGE)
    rows = KEPT["x"].transpose(0, 3, 1, 2).reshape(20, -1)  # channel by channel
    found = predict(config(model), weights, rows)[0]
    assert np.ptp(KEPT[f"{name}.odds"], axis=0).max() > 0.2
    np.testing.assert_allclose(found, KEPT[f"{name}.odds"], rtol=0, atol=1e-5)


def test_rows_that_are_no_images_and_layers_without_biases(tmp_path: Path) -> None:
    kernels = [np.arange(6.0).reshape(2, 3), np.ones((3, 2))]
    np.savez(tmp_path / "net.npz", *kernels)
    found = load(tmp_path / "net.npz", config({"hidden": [3]}))
    np.testing.assert_array_equal(found["0.weight"][0], kernels[0])
    assert not found["1.bias"].any()


@pytest.mark.parametrize(
    ("given", "model", "image", "message"),
    [
        (arrays("cnn"), CNN, None, "must come with the shape of its images"),
        (arrays("cnn"), MLP, IMAGE, "must hold 0 convolutions for model.hidden .* holds 2"),
        (arrays("mlp"), MLP | {"batch_norm": "none"}, IMAGE, "must hold 0 batch norms .* holds 2"),
        (arrays("mlp"), MLP | {"hidden": [6]}, IMAGE, "must hold 2 dense layers .* holds 3"),
        (arrays("mlp"), MLP | {"hidden": [6, 4]}, IMAGE, r"1\.weight must have shape \(6, 4\), is"),
        (arrays("cnn")[::-1], CNN, IMAGE, "arr_0 must be a kernel of two or four axes"),
        (arrays("cnn")[:-4] + arrays("cnn")[-2:], CNN, IMAGE, "is followed by 3 arrays"),
        (arrays("mlp") + arrays("cnn"), MLP, IMAGE, "its convolutions before its dense layers"),
        ([np.array([["a"]])], MLP, None, "arr_0 must hold numbers"),
    ],
    ids=["shape", "kind", "norm", "fewer", "units", "order", "arrays", "mixed", "text"],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, given: list[Array], model: dict[str, Any], image: Image | None, message: str
) -> None:
    np.savez(tmp_path / "net.npz", *given)
    with pytest.raises(ForeignError, match=message):
        load(tmp_path / "net.npz", config(model), image)


def test_named_arrays_and_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", kernel=np.ones((2, 2)))
    with pytest.raises(ForeignError, match=r"must hold arr_0, arr_1, … as numpy\.savez"):
        load(tmp_path / "net.npz", config({"hidden": []}))
    np.savez(tmp_path / "net.npz", np.array([{}], object))
    with pytest.raises(ForeignError, match="without pickles"):
        load(tmp_path / "net.npz", config({"hidden": []}))
