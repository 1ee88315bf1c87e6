"""Rows on disk: they read, and train, as the same rows in memory do, bit for bit."""

import copy
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config
from trainer.arrays import Array
from trainer.convolution import Image
from trainer.data import Data, Splits, split
from trainer.dataset import Dataset
from trainer.prediction import predict
from trainer.preprocessing import fit, transform
from trainer.resizing import Size
from trainer.rules import Technique
from trainer.selection import Selection, on_disk
from trainer.state import weights
from trainer.training import train

GENERATOR = np.random.default_rng(0)
Y = GENERATOR.integers(0, 3, 2600)
X = (GENERATOR.standard_normal((3, 16))[Y] + GENERATOR.normal(1.7, 3, (2600, 16))).astype("f4")
DATASET = Dataset(X, Y, ("a", "b", "c"), image=Image(1, 4, 4))

WAYS = [
    Technique("none", {}),
    Technique("standardize", {}),
    Technique("minmax", {}),
    Technique("pca", {"components": 5, "epsilon": 0.0}),
    Technique("zca", {"epsilon": 0.1}),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def splits(dataset: Dataset, way: Technique = WAYS[1], **options: Any) -> Splits:
    given = {"validation": 0.3, "test": 0.2, "folds": None, "seed": 0} | options
    return split(dataset, preprocess=way, **given)


def both(way: Technique = WAYS[1], **options: Any) -> tuple[Splits, Splits]:
    """In memory, and on disk as a worker gets it."""
    found = splits(replace(DATASET, x=on_disk(X)), way, **options)
    assert isinstance(found.data.folds[0].x_train, Selection)
    return splits(DATASET, way, **options), copy.deepcopy(found)


def trained(data: Data, replicates: int = 2, **fields: Any) -> dict[str, Array]:
    """The state after an epoch and two more."""
    model = fields.pop("model", {})
    made = config(model, epochs=3, batch_size=64, **fields)
    state = None
    for until in (1, 3):
        state = train(made, data, state, until, seed=0, replicates=replicates).state
    assert state is not None
    return {name: each for name, each in state.items() if not name.startswith("seconds.")}


def same(one: dict[str, Array], other: dict[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reading(scaled: bool, dtype: Any) -> None:
    fitted = fit(WAYS[1], X)
    found: Any = on_disk(X)
    assert isinstance(found, Selection)
    array = transform(fitted, X) if scaled else X
    if scaled:
        found = found.scaled(fitted["shift"], fitted["scale"])
    order = GENERATOR.permutation(len(X))
    array, found = array[order], found[order]
    assert (len(found), found.shape, found.dtype) == (len(X), X.shape, np.float32)
    index = GENERATOR.integers(0, len(X), (2, 30))
    for rows in (index, index[:1], index):  # one buffer for all
        out = np.empty((*rows.shape, 16), dtype)
        found.take(rows, axis=0, out=out, mode="clip")
        np.testing.assert_array_equal(out, array[rows].astype(dtype))
    np.testing.assert_array_equal(np.asarray(found, dtype), array.astype(dtype))
    np.testing.assert_array_equal(np.asarray(found[7:90][::2]), array[7:90:2])


@pytest.mark.parametrize(
    "reckoned", [lambda x: x - X.mean(axis=0), lambda x: X * x, lambda x: x > 0, np.square]
)
def test_no_arithmetic_reads_all_rows(reckoned: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        reckoned(on_disk(X))


@pytest.mark.parametrize("way", WAYS, ids=lambda each: each.name)
@pytest.mark.parametrize("folds", [None, 3])
def test_every_preprocessing(way: Technique, folds: int | None) -> None:
    memory, disk = both(way, folds=folds)
    for one, other in zip(memory.preprocessing, disk.preprocessing, strict=True):
        same(one, other)
    np.testing.assert_array_equal(memory.test()[0], disk.test()[0])
    replicates = folds or 2
    same(trained(memory.data, replicates), trained(disk.data, replicates))


@pytest.mark.parametrize(
    "fields",
    [
        {"precision": "float64"},
        {"per_class": 50},
        {"augment": {"noise": 0.1}},
        {"early_stopping": {"patience": 1}},
        {"model": {"dropout": 0.2, "batch_norm": {"after": {"reestimate": True}}}},
        {"model": {"pretrain": "autoencoder"}},
        {"model": {"architecture": {"cnn": {"channels": [3]}}}},
    ],
    ids=lambda fields: next(iter(fields.get("model", fields))),
)
def test_every_way_to_read_rows(fields: dict[str, Any]) -> None:
    memory, disk = both()
    same(trained(memory.data, **fields), trained(disk.data, **fields))


def test_numbers_to_predict() -> None:
    dataset = Dataset(X[:, 2:], X[:, :2].astype(np.float64), (), targets=("a", "b"))
    memory, disk = (splits(replace(dataset, x=x)) for x in (dataset.x, on_disk(dataset.x)))
    same(*(trained(each.data, loss="mean_squared_error") for each in (memory, disk)))


def test_resized_images() -> None:
    memory, disk = both(size=Size(3, 5))
    same(trained(memory.data), trained(disk.data))
    np.testing.assert_array_equal(memory.test()[0], disk.test()[0])


def test_prediction() -> None:
    memory, disk = both()
    made = config(epochs=1)
    learnt = weights(made, train(made, memory.data, None, 1, seed=0, replicates=2).state)
    one, other = (predict(made, learnt, each.data.folds[0].x_val) for each in (memory, disk))
    np.testing.assert_array_equal(one, other)


def test_workers_hold_batches_alone() -> None:
    rows = np.random.default_rng(0).standard_normal((40_000, 64)).astype(np.float32)
    dataset = Dataset(on_disk(rows), Y[GENERATOR.integers(0, 2600, 40_000)], ("a", "b", "c"))
    data = splits(dataset, folds=4).data
    made = config(epochs=1, batch_size=256)
    train(made, data, None, 1, seed=0, replicates=4)  # whatever is made once a process
    tracemalloc.start()
    train(made, data, None, 1, seed=0, replicates=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.nbytes / 2
