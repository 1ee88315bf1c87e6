"""Nets that start from another: what is taken over, what stays as it is, what can't be."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_replicates import assert_same
from trainer import prediction
from trainer.arrays import Array
from trainer.convolution import Image
from trainer.data import Data, Fold
from trainer.group import Rows, Step
from trainer.prediction import evaluate
from trainer.rules import ConfigError
from trainer.state import State, weights
from trainer.state import frozen as frozen_arrays
from trainer.training import train
from trainer.transfer import mapped

IMAGE = Image(2, 6, 5)
FEATURES = IMAGE.channels * IMAGE.pixels
CNN = {"architecture": {"cnn": {"channels": [3, 4]}}, "hidden": [5]}
MLP = {"hidden": [7, 5, 4]}


def source(model: dict[str, Any]) -> dict[str, Array]:
    """A model for two classes that has learnt something."""
    cfg = config({"activation": "tanh"} | model)
    data = Data((fold(80, features=FEATURES, classes=2, seed=1),), 2, IMAGE)
    return weights(cfg, train(cfg, data, None, 4, seed=9, replicates=2).state)


def made(model: dict[str, Any]) -> Data:
    return Data((fold(61, features=FEATURES),), 3, IMAGE, {"model.npz": source(model)})


def start(**fields: Any) -> dict[str, Any]:
    return {"start_from": {"source": "model.npz"} | fields, "activation": "tanh"}


@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize(("model", "depth"), [(MLP, 3), (CNN, 3)], ids=["mlp", "cnn"])
@pytest.mark.parametrize("frozen", [0, 1, 2, 3])
def test_frozen_layers_stay_and_others_learn(
    model: dict[str, Any], depth: int, frozen: int, place: str
) -> None:
    model = model | {"batch_norm": place}
    data = made(model)
    cfg = config(model | start(freeze=frozen), epochs=3)
    begun = train(cfg, data, None, 0, seed=2, replicates=3).state
    first = weights(cfg, begun)
    for name, array in data.sources["model.npz"].items():
        if name != "image" and int(name.partition(".")[0]) < depth:
            for replicate in range(3):
                np.testing.assert_array_equal(first[name][replicate], array[0], err_msg=name)
    assert len(np.unique(first[f"{depth}.weight"][:, 0, 0])) == 3  # drawn anew
    progress = train(cfg, data, begun, 3, seed=2, replicates=3)
    last = weights(cfg, progress.state)
    assert last.keys() == first.keys()
    for name, array in first.items():
        stays = name == "image" or int(name.partition(".")[0]) < frozen
        assert (last[name] == array).all() == stays, name
    held = evaluate(cfg, last, data.folds[0].x_val, data.folds[0].y_val)
    np.testing.assert_allclose(progress.metrics["val_loss"], held["loss"], rtol=1e-5)
    whole = train(cfg, data, None, 3, seed=2, replicates=3)
    assert_same(whole.state, progress.state)
    alone = train(cfg, data, None, 3, seed=2, replicates=1, first=1)
    np.testing.assert_array_equal(alone.state["parameters"][0], whole.state["parameters"][1])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_rest_is_trained_on_what_frozen_layers_give(precision: str) -> None:
    data = made(MLP)
    cfg = config(MLP | start(freeze=2), precision=precision, epochs=3)
    begun = train(cfg, data, None, 0, seed=2, replicates=2).state
    given = {name: array[0] for name, array in data.sources["model.npz"].items()}

    def through(x: Array) -> Array:
        for layer in (0, 1):
            x = np.tanh(x @ given[f"{layer}.weight"] + given[f"{layer}.bias"])
        return x

    old = data.folds[0]
    new = Fold(through(old.x_train), old.y_train, through(old.x_val), old.y_val)
    small = config({"hidden": [4], "activation": "tanh"}, precision=precision, epochs=3)
    state: State = train(small, Data((new,), 3), None, 0, seed=2, replicates=2).state
    state["parameters"] = begun["parameters"].copy()
    expected = train(small, Data((new,), 3), state, 3, seed=2, replicates=2)
    found = train(cfg, data, begun, 3, seed=2, replicates=2)
    np.testing.assert_allclose(
        found.state["parameters"], expected.state["parameters"], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("model", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_steps_that_make_frozen_outputs_anew_give_the_same_bits(
    model: dict[str, Any], frozen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "ROWS", 16)  # so that there are several blocks of rows
    model = model | {"batch_norm": "after", "dropout": 0.3}
    cfg, data = config(model | start(freeze=frozen), epochs=3), made(model)
    begun = train(cfg, data, None, 0, seed=2, replicates=2).state
    cached = train(cfg, data, begun, 3, seed=2, replicates=2)
    held, steps = frozen_arrays(begun), []

    def gather(step: Step, _cached: Rows, index: Array) -> None:
        outputs = mapped(data, cfg, held).folds[0].x_train
        for chosen, place in zip(index, step.x, strict=True):
            outputs.take(chosen, axis=0, out=place)
        steps.append(len(index))

    monkeypatch.setattr(Step, "gather", gather)
    anew = train(cfg, data, begun, 3, seed=2, replicates=2)
    assert len(steps) >= 3 * 8
    assert_same(anew.state, cached.state)


@pytest.mark.parametrize("model", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("frozen", [1, 2])
def test_frozen_outputs_cached_or_made_anew_give_the_same_bits(
    model: dict[str, Any], frozen: int
) -> None:
    cfg = config(model | start(freeze=frozen) | {"batch_norm": "before"}, epochs=4)
    data = made(model | {"batch_norm": "before"})
    cached = train(cfg, data, None, 4, seed=2, replicates=2).state
    anew: State | None = None
    for epoch in range(1, 5):  # each call applies the frozen layers once more
        anew = train(cfg, data, anew, epoch, seed=2, replicates=2).state
    assert anew is not None
    assert_same(anew, cached)


def test_fewer_layers_can_be_kept_and_others_put_on_top() -> None:
    data = made(MLP)
    cfg = config({"hidden": [7, 9, 9, 2]} | start(keep=1), epochs=1)
    found = weights(cfg, train(cfg, data, None, 0, seed=2, replicates=2).state)
    np.testing.assert_array_equal(found["0.weight"][1], data.sources["model.npz"]["0.weight"][0])
    assert found["1.weight"].shape == (2, 7, 9)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (start(source="other.npz"), "must be among the models that came with the data, got 'other"),
        ({"hidden": [8, 5, 4]} | start(), r"0.weight of shape \(60, 8\), as this net, not \(60, 7"),
        ({"hidden": [7, 5, 4, 2]} | start(), "keep: must be at most the 3 hidden layers of model"),
        ({"batch_norm": "after"} | start(), "must have 0.gamma, which this net has"),
        (start(keep=4), "start_from.keep: must be at most the 3 hidden layers of the net, got 4"),
        (start(freeze=4), "start_from.freeze: must be at most the 3 layers that are taken over"),
        (start(keep=1, freeze=2), "start_from.freeze: must be at most the 1 layers that are"),
        ({"dropout": {"input": 0.1}} | start(freeze=1), "model.dropout.input: must be 0 with froz"),
    ],
    ids=str,
)
def test_what_can_not_be_taken_over(model: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        train(config(MLP | model), made(MLP), None, 1, seed=0, replicates=1)


def test_rows_that_see_frozen_layers_once_can_not_be_augmented() -> None:
    cfg = config(MLP | start(freeze=1), augment={"shift": 1})
    with pytest.raises(ConfigError, match="augment: must be left out with frozen layers"):
        train(cfg, made(MLP), None, 1, seed=0, replicates=1)


def test_folds_are_mapped_each() -> None:
    data = made(MLP)
    folds = (fold(61, features=FEATURES), fold(61, features=FEATURES, seed=3))
    cfg = config(MLP | start(freeze=2))
    both = train(cfg, replace(data, folds=folds), None, 2, seed=0, replicates=2)
    for each in (0, 1):
        alone = train(
            cfg, replace(data, folds=(folds[each],)), None, 2, seed=0, replicates=1, first=each
        )
        np.testing.assert_array_equal(alone.state["parameters"][0], both.state["parameters"][each])


@pytest.mark.parametrize("frozen", [0, 2])
def test_frozen_parameters_count(frozen: int) -> None:
    model = MLP | {"batch_norm": "after"}
    cfg = config(model | start(freeze=frozen), epochs=1)
    progress = train(cfg, made(model), None, 1, seed=0, replicates=2)
    widths = [FEATURES, 7, 5, 4]
    hidden = sum((n + 3) * m for n, m in itertools.pairwise(widths))  # with b, γ, β
    assert progress.metrics["parameters"].tolist() == [hidden + (4 + 1) * 3] * 2
